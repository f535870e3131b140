//! The inits that are compared.

use crate::Result;
use std::path::{Path, PathBuf};

/// clawinit's place in the list, and that of the init that all ratios are to.
pub const CLAWINIT: usize = 0;
pub const TINI: usize = 1;

/// An init.
pub struct Init {
    pub name: &'static str,
    /// None: no init at all, the child itself is PID 1.
    pub path: Option<PathBuf>,
    /// Another copy of one that is in the list already: what it differs by is noise.
    pub is_noise_check: bool,
    /// Its own options.
    options: &'static [&'static str],
}

impl Init {
    /// clawinit and those of Debian's that are installed.
    pub fn find(clawinit: &Path) -> Result<Vec<Init>> {
        let path = std::fs::canonicalize(clawinit)
            .map_err(|error| format!("{}: {error}", clawinit.display()))?;
        let mut inits =
            vec![Init { name: "clawinit", path: Some(path), is_noise_check: false, options: &[] }];
        let tini = on_path("tini")
            .ok_or("tini is absent, and every ratio is to it; scripts/setup all installs it")?;
        inits.push(Init {
            name: "tini",
            path: Some(tini.clone()),
            is_noise_check: false,
            options: &[],
        });
        for name in ["tini-static", "dumb-init", "catatonit"] {
            match on_path(name) {
                Some(path) => {
                    inits.push(Init { name, path: Some(path), is_noise_check: false, options: &[] })
                }
                None => println!("{name} is absent, and left out"),
            }
        }
        inits.push(Init {
            name: "tini again",
            path: Some(tini),
            is_noise_check: true,
            options: &[],
        });
        inits.push(Init { name: "none", path: None, is_noise_check: false, options: &[] });
        Ok(inits)
    }

    /// A further program, by its path.
    pub fn another(path: &str) -> Init {
        let name: &'static str = Box::leak(path.rsplit('/').next().unwrap_or(path).into());
        Init { name, path: Some(path.into()), is_noise_check: true, options: &[] }
    }

    /// clawinit with what it keeps open and listens to for its child: what that costs.
    pub fn with_sockets(clawinit: &Path) -> Result<Init> {
        let path = std::fs::canonicalize(clawinit)
            .map_err(|error| format!("{}: {error}", clawinit.display()))?;
        Ok(Init {
            name: "with sockets",
            path: Some(path),
            is_noise_check: true,
            options: &["--listen=127.0.0.1:18998,127.0.0.1:18999", "--notify", "--start-grace=60m"],
        })
    }

    /// The command line before the child's.
    pub fn words(&self) -> Vec<String> {
        match &self.path {
            Some(path) => {
                let options = self.options.iter().map(ToString::to_string);
                let path = path.display().to_string();
                std::iter::once(path).chain(options).chain(["--".to_string()]).collect()
            }
            None => Vec::new(),
        }
    }

    /// One of the others, to be better than.
    pub fn is_peer(&self) -> bool {
        self.path.is_some() && !self.is_noise_check && self.name != "clawinit"
    }
}

/// Where a program is.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
