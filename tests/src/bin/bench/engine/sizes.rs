//! What the same rows take on disk, and what taking them in took.

use std::path::Path;

use anyhow::Result;

use super::Bench;
use super::node::Imported;
use super::report::digits;

/// Bytes of each table in each peer and of all of them in Tannin; empty without peers.
pub(super) fn report(
    bench: &mut Bench<'_>,
    tables: &[String],
    data: &Path,
    imported: &[Imported],
) -> Result<String> {
    let mut text = String::from("\n### Sizes\n\n| what | MB |\n|---|---|\n");
    let mut add = |what: &str, bytes: u64| {
        text.push_str(&format!("| {what} | {} |\n", digits(bytes as f64 / 1e6)));
    };
    add(
        "Tannin, segments on disk with their indexes",
        bench.tannin.bytes_in("segments")?,
    );
    add("Tannin, deep store", bench.tannin.bytes_in("deepstore")?);
    for table in tables {
        let mut parquet = 0;
        for file in std::fs::read_dir(data.join(table))? {
            parquet += file?.metadata()?.len();
        }
        add(&format!("Parquet (zstd), {table}"), parquet);
        for peer in &mut bench.peers {
            let bytes = peer.size(table)?;
            add(&format!("{}, {table}", peer.name), bytes);
        }
    }
    for (table, imported) in tables.iter().zip(imported) {
        if !imported.wall.is_zero() {
            text.push_str(&format!(
                "\nImport of {table}: {:.1} s, {:.1} s of the importer's CPU.\n",
                imported.wall.as_secs_f64(),
                imported.cpu.as_secs_f64()
            ));
        }
    }
    Ok(text)
}
