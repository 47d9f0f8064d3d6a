//! Logs, on stderr: results alone go to stdout.

use anyhow::Result;
use runtime::settings::{LogFormat, Telemetry};
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;

/// Once for each process.
pub(crate) fn init(settings: &Telemetry) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(|error| {
        let level = &settings.log_level;
        Exit::usage(format!("telemetry.log_level = \"{level}\": {error}"))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match settings.log_format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colours).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("logs cannot be set up: {error}"))
}
