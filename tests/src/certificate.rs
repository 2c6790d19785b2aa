//! Certificates for servers that speak TLS.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command, Stdio},
};

/// A certificate with its key, in one file that is gone with it.
pub struct Certificate {
    folder: PathBuf,
    file: PathBuf,
}

impl Certificate {
    /// A new one, for a test.
    ///
    /// # Panics
    /// When openssl makes none.
    #[track_caller]
    pub fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("bleedtrace-{test}-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let [key, file] = ["key", "certificate"].map(|name| folder.join(name));
        let status = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&file)
            .stderr(Stdio::null())
            .status()
            .expect("openssl runs");
        assert!(status.success(), "openssl makes no certificate");
        let both = [&file, &key].map(|path| fs::read_to_string(path).expect("just made"));
        fs::write(&file, both.concat()).expect("the folder is ours");
        Self { folder, file }
    }

    /// Where it is.
    ///
    /// # Panics
    /// When the folder for temporary files has a name that is no text.
    #[track_caller]
    pub fn path(&self) -> &str {
        self.file.to_str().expect("a readable path")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
