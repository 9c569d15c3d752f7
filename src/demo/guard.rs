//! Cleaning up after a process that may die without a word.
//!
//! A destructor does not run when its process is killed. A guard is a shell that reads from a pipe whose other end this process
//! holds: the kernel closes that end however this process ends, and the shell then does the cleaning.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Runs its command when it is dropped or when this process ends, whichever comes first.
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// `command` is run by `sh`; `args` are its `$1`, `$2`, ...
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn new(command: &str, args: &[&str]) -> io::Result<Guard> {
        let script = format!("while read -r _; do :; done; {command}");
        let shell = Command::new("sh")
            .args(["-c", &script, "pgduet-guard"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // A terminal's Ctrl-C is for this process, not for its guards.
            .process_group(0)
            .spawn()?;
        Ok(Guard { shell })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing is left to do for a guard that cannot be waited for.
        let _ = self.shell.wait();
    }
}
