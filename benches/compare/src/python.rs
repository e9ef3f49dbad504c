//! A Python peer: a long-lived `python3` that does a round for each line it is sent.
//!
//! The scripts are in `python/`. Each makes what it needs, answers `ready`, and then for every line
//! `N` does N operations and answers with the seconds that they took and a sum to be checked.

use crate::Result;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A script that runs.
pub struct Python {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts `python/SCRIPT`; an error means that this peer is missing.
    pub fn start(script: &str) -> Result<Self> {
        Self::start_with(script, &[])
    }

    /// The same with arguments.
    pub fn start_with(script: &str, arguments: &[&str]) -> Result<Self> {
        let path = format!("{}/python/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("python3")
            .arg(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from python3")?);
        let mut python = Self { child, input, output };
        match python.answer()?.as_str() {
            "ready" => Ok(python),
            other => Err(format!("python3 {script} answered '{other}'").into()),
        }
    }

    /// Does `work` operations; the seconds, and the sum.
    pub fn round(&mut self, work: u64) -> Result<(f64, u64)> {
        let input = self.input.as_mut().ok_or("python3 was ended")?;
        writeln!(input, "{work}")?;
        let answer = self.answer()?;
        let (seconds, sum) = answer.split_once(' ').ok_or("python3 answered with one word")?;
        Ok((seconds.parse()?, sum.parse()?))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("python3 has ended; see above".into());
        }
        Ok(line.trim().into())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The end of its input is the end of the script, which then ends its workers.
        self.input = None;
        let _ = self.child.wait();
    }
}
