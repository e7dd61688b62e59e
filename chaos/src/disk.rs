//! File systems that can be filled.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::Result;
use tokio::process::Command;

/// A small file system.
#[derive(Debug)]
pub struct Disk {
    /// Its owner, such as `disk of api 0`.
    pub name: String,
    path: PathBuf,
}

impl Disk {
    /// Mounts a file system in memory. Returns `None` if the user has no permission.
    pub(crate) async fn mount(name: &str, path: &Path, size: &str) -> Result<Option<Self>> {
        let options = format!("size={size},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).stderr(Stdio::null());
        let mounted = mount.status().await.is_ok_and(|status| status.success());
        Ok(mounted.then(|| Self { name: name.to_owned(), path: path.to_owned() }))
    }

    /// Takes all its free space. On a thread of its own, because that takes time.
    pub async fn fill(&self) -> Result<()> {
        let mut ballast = fs::File::create(self.ballast())?;
        let fill = move || {
            let mut piece = vec![0; 1 << 20];
            while !piece.is_empty() {
                if ballast.write(&piece).is_err() {
                    piece.truncate(piece.len() / 2);
                }
            }
        };
        Ok(tokio::task::spawn_blocking(fill).await?)
    }

    /// Frees the space again.
    pub async fn empty(&self) -> Result<()> {
        let ballast = self.ballast();
        // It is missing if the disk was never filled.
        drop(tokio::task::spawn_blocking(|| fs::remove_file(ballast)).await?);
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a killed process may still hold a file for a moment.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .stderr(Stdio::null())
            .status();
    }
}
