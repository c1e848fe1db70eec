//! One command under `strace`: which files it writes to and how often, and its death or a failing disk at just one of
//! these calls.
//!
//! `strace` counts the calls of each thread and of each system call by themselves, so a [`Point`] is a file, a system call
//! and a number, and only calls on that file are looked at. Where two threads make the same call on the same file, the
//! number is that of whichever comes to it first; the early calls of the later thread are then not hit.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Commands, Process};

/// Everything that changes a file or makes a change last.
const WRITES: &str = "write,pwrite64,writev,pwritev,fsync,fdatasync,ftruncate,fallocate,unlink,unlinkat,rename,renameat,\
                      renameat2,link,linkat,mkdir";

/// A process's own number in the name of a file that it makes.
const OWN: &str = "{pid}";

/// Whether processes can be traced here. If not, says so on stderr.
pub fn is_possible() -> bool {
    let traced =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let possible = traced.is_ok_and(|status| status.success());
    if !possible {
        eprintln!("skipped: strace is not installed, or may not trace here");
    }
    possible
}

/// Writing calls on one file: the file's path, in which `{pid}` stands for the process's own number, and the call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The system call.
    pub call: String,
}

/// One writing call of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Where.
    pub place: Place,
    /// The how manieth there, from 1.
    pub nth: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Path::new(&self.place.file).file_name().map(|name| name.to_string_lossy());
        write!(f, "{} {} on {}", self.place.call, self.nth, name.unwrap_or_default())
    }
}

/// What happens at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// SIGKILL; the call is not made any more.
    Kill,
    /// The call fails with this error, and so do the next `more` calls there; `None` for all that follow.
    Fail {
        /// As the system names it: `ENOSPC`.
        error: String,
        /// How many more.
        more: Option<u64>,
    },
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => write!(f, "SIGKILL"),
            Self::Fail { error, more: Some(0) } => write!(f, "{error}"),
            Self::Fail { error, more: Some(more) } => write!(f, "{error} and {more} more"),
            Self::Fail { error, more: None } => write!(f, "{error} from then on"),
        }
    }
}

/// How a command is started: as it is, or under `strace`, which writes a log.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// As it is.
    Plainly,
    /// So that its writes are counted.
    Counting {
        /// The log to be written.
        log: &'a Path,
    },
    /// So that it comes to harm.
    Harming {
        /// The log to be written.
        log: &'a Path,
        /// Where.
        point: &'a Point,
        /// How.
        harm: &'a Harm,
    },
}

impl Start<'_> {
    /// Starts one of the built commands. It is itself the child, and `strace` a descendant of it.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let (log, file, options) = match self {
            Self::Plainly => {
                let mut command = Command::new(Commands::get().path(name));
                command.args(arguments);
                return Process::start(command);
            }
            Self::Counting { log } => (log, "", format!("-y -e trace={WRITES}")),
            Self::Harming { log, point: Point { place: Place { file, call }, nth }, harm } => {
                let inject = match harm {
                    Harm::Kill => format!("signal=KILL:when={nth}"),
                    Harm::Fail { error, more: Some(0) } => format!("error={error}:when={nth}"),
                    Harm::Fail { error, more: Some(more) } => {
                        format!("error={error}:when={nth}..{}", nth + more)
                    }
                    Harm::Fail { error, more: None } => format!("error={error}:when={nth}+"),
                };
                let options = format!("-e trace={call} -e inject={call}:{inject} -P \"$before$own$after\"");
                (log, file.as_str(), options)
            }
        };
        // The shell knows the number that the command will have.
        let (before, after) = file.split_once(OWN).unwrap_or((file, ""));
        let own = if file.contains(OWN) { "$$" } else { "" };
        let script = format!(
            "log=$1 before=$2 own={own} after=$3; shift 3; exec strace -D -f -qq -o \"$log\" {options} -- \"$@\""
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(log).args([before, after]);
        command.arg(Commands::get().path(name)).args(arguments);
        Process::start(command)
    }
}

/// What was counted, for the files below `folder`: how often each call was made on each, by the thread that made it
/// most often. To be asked after [`Process::outcome`], which waits for `strace` too: it has the same stderr.
pub fn counted(log: &Path, folder: &Path) -> BTreeMap<Place, u64> {
    let mut threads: BTreeMap<(Place, &str), u64> = BTreeMap::new();
    let log = whole(log);
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = call.trim_start().split_once('(') else { continue };
        // The first path below the folder: in <> for a descriptor, in quotes for a name.
        let Some(at) = arguments.find(&folder.display().to_string()) else { continue };
        let file = arguments[at..].split(['>', '"']).next().unwrap_or_default();
        if file.contains("(deleted)") || file.contains('#') {
            continue;
        }
        let place = Place { file: without_own(file), call: call.to_owned() };
        *threads.entry((place, thread)).or_default() += 1;
    }
    let mut places = BTreeMap::new();
    for ((place, _), count) in threads {
        let most: &mut u64 = places.entry(place).or_default();
        *most = count.max(*most);
    }
    places
}

/// Whether it came to harm, or never came to the point. To be asked after [`Process::outcome`].
pub fn came_to_harm(log: &Path) -> bool {
    let log = whole(log);
    log.contains("+++ killed by SIGKILL +++") || log.contains("(INJECTED)")
}

fn whole(log: &Path) -> String {
    std::fs::read_to_string(log).expect("strace writes a log")
}

/// A path in which the number after `cloning-` is no number of ours.
fn without_own(file: &str) -> String {
    const DRAFT: &str = ".cloning-";
    let Some((before, after)) = file.split_once(DRAFT) else { return file.to_owned() };
    format!("{before}{DRAFT}{OWN}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}
