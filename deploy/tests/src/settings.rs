//! The `.env` of a stack under test: `.env.example` with random secrets, a free port and high rate
//! limits.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;

/// Suffixes of the names of secrets.
const SECRET_SUFFIXES: [&str; 3] = ["PASSWORD", "KEY", "TOKEN"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    lines: Vec<(String, String)>,
}

impl Settings {
    /// Reads `.env.example` and generates each secret.
    pub fn from_example(example: &str) -> Result<Self> {
        let mut settings = Self::default();
        for line in
            example.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line
                .split_once('=')
                .with_context(|| format!(".env.example: expected NAME=value, got {line:?}"))?;
            if is_secret(name) {
                ensure!(
                    value.is_empty(),
                    ".env.example: {name} has a public default value; leave it empty"
                );
                settings.set(name, &random_secret());
            } else {
                settings.set(name, value);
            }
        }
        Ok(settings)
    }

    /// Reads a file that `make env` wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let mut settings = Self::default();
        for line in
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line
                .split_once('=')
                .with_context(|| format!("{}: expected NAME=value in each line", path.display()))?;
            settings.set(name, value);
        }
        Ok(settings)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        match self.lines.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.lines.push((name.to_owned(), value.to_owned())),
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn secrets(&self) -> Vec<(&str, &str)> {
        let pairs = self.lines.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(|(name, value)| is_secret(name) && !value.is_empty()).collect()
    }

    /// Writes the file with mode 0600.
    pub fn write(&self, path: &Path) -> Result<()> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let text: String =
            self.lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{}", path.display()))
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_SUFFIXES.iter().any(|end| name.ends_with(end))
}

/// 32 random bytes in hexadecimal, as `make env` generates them.
#[must_use]
pub fn random_secret() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a loopback port that is free at the moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr().context("a free port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_secrets_are_randomized() {
        let example = "# The port\nMERCH_PORT=8080\n\nPOSTGRES_PASSWORD=\nMERCH_JWT_KEY=\n";
        let (one, two) =
            (Settings::from_example(example).unwrap(), Settings::from_example(example).unwrap());
        assert_eq!((one.get("MERCH_PORT"), one.get("MERCH_TLS_PORT")), (Some("8080"), None));
        let secrets = one.secrets();
        assert_eq!(
            secrets.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["POSTGRES_PASSWORD", "MERCH_JWT_KEY"]
        );
        assert!(secrets.iter().all(|(_, value)| value.len() == 64) && secrets[0].1 != secrets[1].1);
        assert_ne!(one, two);
    }

    #[test]
    fn default_password_is_refused_and_not_shown() {
        let refused = Settings::from_example("POSTGRES_PASSWORD=hunter2").unwrap_err().to_string();
        assert!(refused.contains("POSTGRES_PASSWORD") && !refused.contains("hunter2"), "{refused}");
        assert!(Settings::from_example("nonsense").is_err());
    }

    #[test]
    fn settings_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("merch-env-{}", uuid::Uuid::new_v4()));
        let mut settings = Settings::from_example("A_KEY=").unwrap();
        settings.set("B", "1");
        settings.set("B", "2");
        settings.write(&path).unwrap();
        let (read, mode) = (
            Settings::read(&path).unwrap(),
            std::fs::metadata(&path).unwrap().permissions().mode(),
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!((read.get("B"), mode & 0o777), (Some("2"), 0o600));
        assert_eq!(read, settings);
    }

    #[test]
    fn free_port_can_be_bound() {
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().unwrap())).is_ok());
    }
}
