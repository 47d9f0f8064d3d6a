//! `tannin access`: hashes for the file of principals, and a look at the file.

use std::io::{IsTerminal, Write};

use access::checked;
use access::secrets::{hash_of_password, hash_of_token, new_token};
use anyhow::{Context, Result, anyhow};

use crate::args::AccessAction;
use crate::exit::Exit;

pub(crate) fn run(action: AccessAction) -> Result<()> {
    match action {
        AccessAction::Password => {
            let hash = hash_of_password(&password()?).map_err(|wrong| anyhow!(wrong))?;
            println!("{hash}");
        }
        AccessAction::Token => {
            let token = new_token().map_err(|wrong| anyhow!(wrong))?;
            println!("{token}");
            println!("{}", hash_of_token(&token));
            eprintln!("the token, which is nowhere else, and its hash for the file of principals");
        }
        AccessAction::Check { file } => {
            let found = checked(&file).map_err(|error| Exit::usage(error.to_string()))?;
            println!("{}: {found}", file.display());
        }
    }
    Ok(())
}

/// Hidden where a person types it.
fn password() -> Result<String> {
    let stdin = std::io::stdin();
    let is_typed = stdin.is_terminal();
    if is_typed {
        eprint!("password: ");
        std::io::stderr().flush().context("cannot ask")?;
    }
    let shown = is_typed.then(Silence::begin).transpose()?;
    let mut line = String::new();
    stdin
        .read_line(&mut line)
        .context("cannot read the password")?;
    drop(shown);
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Exit::usage("the password is empty"));
    }
    Ok(password.to_owned())
}

/// The terminal shows nothing of what is typed, until this is dropped.
struct Silence(rustix::termios::Termios);

impl Silence {
    fn begin() -> Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).context("no terminal")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).context("no terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _restored = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
        eprintln!();
    }
}
