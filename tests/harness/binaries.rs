//! The built commands `driftless` and `driftless-relay`, as their users run them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Instant;

use crate::PATIENCE;

/// Where the commands are.
#[derive(Debug)]
pub struct Commands {
    folder: PathBuf,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// Its diagnostics.
    pub stderr: String,
}

impl Commands {
    /// Builds the commands, once a process, in the profile of the test itself; or takes them, as they are, from the folder in
    /// `DRIFTLESS_COMMANDS`.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Commands> = OnceLock::new();
        BUILT.get_or_init(Self::build)
    }

    fn build() -> Self {
        if let Some(folder) = std::env::var_os("DRIFTLESS_COMMANDS") {
            return Self { folder: folder.into() };
        }
        let test = std::env::current_exe().expect("a test knows its own path");
        // target/<profile>/deps/e2e-0123, or a program of this package: target/<profile>/torment
        let folder = test.parent().expect("a file lies in a folder");
        let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
        let folder = folder.expect("a test lies in target/<profile>/deps");
        let profile = folder.file_name().and_then(|name| name.to_str()).expect("a profile has a name");
        let target = folder.parent().expect("a profile lies in a target folder");
        let profile = if profile == "debug" { "dev" } else { profile };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "driftless", "-p", "driftless-relay", "--profile", profile])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the commands do not build");
        Self { folder: folder.to_owned() }
    }

    /// Runs `driftless` to its end. Panics if that does not come.
    pub fn driftless<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
        self.start("driftless", arguments).outcome()
    }

    /// Runs `driftless` to its end as a user who may only what the files' modes say: root may everything, so as
    /// root another user is taken. `None`, said on stderr, where that user cannot run the command.
    pub fn driftless_unprivileged<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Option<Outcome> {
        const NOBODY: u32 = 65_534;
        let mut command = Command::new(self.folder.join("driftless"));
        let own = std::fs::metadata("/proc/self").ok().map(|own| std::os::unix::fs::MetadataExt::uid(&own));
        if own == Some(0) {
            std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        }
        let output = command.args(arguments).current_dir("/").stdin(Stdio::null()).output();
        let said = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match output {
            Ok(output) => Some(Outcome {
                code: output.status.code(),
                stdout: said(output.stdout),
                stderr: said(output.stderr),
            }),
            Err(error) => {
                eprintln!("skipped: another user than root cannot run the command here: {error}");
                None
            }
        }
    }

    /// Runs `driftless` to its end, which must be a good one, and returns its stdout.
    #[track_caller]
    pub fn succeed<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let outcome = self.driftless(arguments.iter().copied());
        assert_eq!(outcome.code, Some(0), "driftless {arguments:?}: {outcome:?}");
        outcome.stdout
    }

    /// Starts `driftless sync` and waits until it is online.
    pub fn sync(&self, file: &Path, url: &str) -> Process {
        let process = self.start("driftless", ["sync", text(file), url]);
        process.wait_for("online with");
        process
    }

    /// Starts `driftless sync` without waiting for anything.
    pub fn sync_unwatched(&self, file: &Path, url: &str) -> Process {
        self.start("driftless", ["sync", text(file), url])
    }

    /// Starts a relay on this data folder without waiting for anything.
    pub fn relay_unwatched(&self, folder: &Path, port: u16) -> Process {
        self.start("driftless-relay", ["--listen", &format!("127.0.0.1:{port}"), "--data", text(folder)])
    }

    /// Starts a relay on this data folder and waits until it listens. `port` 0 takes any free one. Returns the
    /// process and its port.
    pub fn relay(&self, folder: &Path, port: u16) -> (Process, u16) {
        let process = self.relay_unwatched(folder, port);
        let line = process.wait_for("listening on ws://");
        let address = line.split_whitespace().nth(2).expect("an address");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        (process, port)
    }

    /// The file of one of the commands.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn start<'a>(&self, name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Process {
        let mut command = Command::new(self.path(name));
        command.args(arguments);
        Process::start(command)
    }
}

/// A path as an argument; the paths of tests are all text.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

type Heard = Arc<(Mutex<[Said; 2]>, Condvar)>;

fn listen(stream: impl std::io::Read + Send + 'static, which: usize, heard: Heard) {
    std::thread::spawn(move || {
        let (said, more) = &*heard;
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            said.lock().expect("nobody panics with it")[which].lines.push(line);
            more.notify_all();
        }
        said.lock().expect("nobody panics with it")[which].ended = true;
        more.notify_all();
    });
}

/// A running command. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Heard,
}

impl Process {
    /// Starts whatever it is and listens to what it says.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (Said::default(), Said::default());
        let said = Arc::new((Mutex::new([stdout, stderr]), Condvar::new()));
        listen(child.stdout.take().expect("its stdout"), 0, said.clone());
        listen(child.stderr.take().expect("its stderr"), 1, said.clone());
        Self { child, said }
    }

    /// Waits until it has said something with `words` in it, or has ended. Returns whether it said it.
    pub fn says(&self, words: &str) -> bool {
        self.says_any(&[words])
    }

    /// The same with any of several.
    pub fn says_any(&self, words: &[&str]) -> bool {
        let (said, more) = &*self.said;
        let mut said = said.lock().expect("nobody panics with it");
        let begun = Instant::now();
        loop {
            if said
                .iter()
                .flat_map(|said| &said.lines)
                .any(|line| words.iter().any(|words| line.contains(words)))
            {
                return true;
            }
            if said.iter().all(|said| said.ended) {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "neither said any of {words:?} nor ended: {said:#?}");
            said = more.wait_timeout(said, PATIENCE).expect("nobody panics with it").0;
        }
    }

    /// Asks it to end with SIGTERM, if it has not ended already, and waits until it has.
    pub fn stop_if_alive(mut self) -> Outcome {
        if self.has_ended() { self.outcome() } else { self.stop() }
    }

    /// Waits until it has said something with `words` in it, and returns that line. Panics if it ends without.
    pub fn wait_for(&self, words: &str) -> String {
        let (said, more) = &*self.said;
        let mut said = said.lock().expect("nobody panics with it");
        let begun = Instant::now();
        loop {
            let line = said.iter().flat_map(|said| &said.lines).find(|line| line.contains(words));
            if let Some(line) = line {
                return line.clone();
            }
            let over = said.iter().all(|said| said.ended) || begun.elapsed() > PATIENCE;
            assert!(!over, "never said '{words}', but: {said:#?}");
            said = more.wait_timeout(said, PATIENCE).expect("nobody panics with it").0;
        }
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end with SIGTERM and waits until it has.
    pub fn stop(self) -> Outcome {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(sent.success(), "the process is there");
        self.outcome()
    }

    /// The system's number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, both streams.
    pub fn said(&self) -> String {
        let said = self.said.0.lock().expect("nobody panics with it");
        said.iter().flat_map(|said| &said.lines).fold(String::new(), |all, line| all + line + "\n")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    /// Waits for its end. Panics if that does not come.
    pub fn outcome(mut self) -> Outcome {
        let status = self.wait();
        let (said, more) = &*self.said;
        let mut said = said.lock().expect("nobody panics with it");
        while !said.iter().all(|said| said.ended) {
            said = more.wait(said).expect("nobody panics with it");
        }
        let [stdout, stderr] = &*said;
        Outcome { code: status.code(), stdout: stdout.lines.join("\n"), stderr: stderr.lines.join("\n") }
    }

    fn wait(&mut self) -> ExitStatus {
        let said = self.said.clone();
        crate::eventually_or(
            "a command to end",
            || format!("{said:#?}"),
            || self.child.try_wait().expect("it can be asked"),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
