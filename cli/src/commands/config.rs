//! `tannin config`: the documented defaults, and the check of a settings file.

use anyhow::{Context, Result};
use runtime::settings::{DEFAULT_TOML, Layers};

use crate::args::ConfigAction;
use crate::exit::Exit;

pub(crate) fn run(action: ConfigAction) -> Result<()> {
    match action {
        ConfigAction::Print => print!("{DEFAULT_TOML}"),
        ConfigAction::Check { file } => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let mut layers = Layers::default();
            layers.file(&file.display().to_string(), &text);
            layers
                .settings()
                .map_err(|error| Exit::usage(error.to_string()))?;
            println!("{}: fine", file.display());
        }
    }
    Ok(())
}
