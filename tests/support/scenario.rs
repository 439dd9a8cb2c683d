//! Whole scenarios as script files: commands with their expected output.
//!
//! ```text
//! # A comment: what happens here, and why.
//!
//! > spec
//! | version: 1
//! | ...
//!
//! > apply --yes
//! ...
//!
//! > outside: delete aws.iam.role kserve-loader
//!
//! > drift
//! ...
//! [exit 2]
//! ```
//!
//! A line that begins with `> ` is a command, lines that begin with `| ` are its input, and what follows is its
//! expected output, as a terminal shows stdout and stderr, with the exit code if it is not 0. A command that ends with
//! `| tail -N` shows only the last N lines. The commands of the program are run by the program itself
//! ([`bailiwick::cli::run`]) on the in-memory cloud, at noon of the first day of 2026, in a folder that holds the spec
//! and the state. The other commands change the environment:
//!
//! | command | input | effect |
//! |---|---|---|
//! | `spec` | the spec | writes the spec; what it relies on exists from then on |
//! | `edit` | hunks of a diff, separated by an empty line | changes the spec accordingly |
//! | `lose state` | | removes the folder of the state |
//! | `outside: create KIND NAME in PLACE` | its body | creates an object; the place is an account, `account/region`, or the key of a cluster |
//! | `outside: delete KIND NAME` | | deletes it |
//! | `outside: change KIND NAME` | a JSON merge patch (RFC 7396), also as YAML | changes it |
//! | `outside: add statement to KIND NAME` | the statement | adds it to a policy document |
//! | `outside: remove statement SID from KIND NAME` | | removes it |
//! | `outside: put an object into NAME` | | a bucket is no longer empty |
//! | `outside: show KIND NAME` | | prints the body |
//! | `fault: deny reading ADDRESS` | | reads of it are answered with 403 |
//! | `fault: deny writing ADDRESS` | | writes of it are answered with 403 |
//! | `fault: cluster KEY does not answer` | | requests to it get no response |
//! | `fault: lose the answer to writing ADDRESS` | | the next write is done and gets no response |
//! | `fault: crash before write N`, `fault: crash after write N` | | the process dies at the n-th write from now |
//! | `fault: interrupt after write N` | | sends Ctrl-C |
//! | `fault: none` | | removes all faults |
//!
//! An object is identified by its kind and by the name by which its API knows it. Every line must take effect; these
//! are errors: an unknown command, an object that does not exist, an edit that fits nowhere, unused input, a fault that
//! never occurs, expected output that is not printed. `BLESS=1` rewrites the expected output.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bailiwick::cli::host::{BlockingWork, Clouds, Host, Interrupts, Meanwhile, Output, Terminals};
use bailiwick::cli::{self, Exit, ProcessEnvironment};
use bailiwick::live::WriteError;
use bailiwick::spec::{SourceFile, load};
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::memory::{Cloud, Cut, Id};

const SPEC: &str = "bailiwick.yaml";

/// The commands of the program that a script may use.
const PROGRAM: [&str; 12] =
    ["apply", "can", "destroy", "drift", "graph", "init", "plan", "policy", "show", "state", "validate", "who-can"];

/// A command of a script.
struct Command {
    /// The number of its line.
    line: usize,
    text: String,
    input: Vec<String>,
}

/// A part of a script.
enum Part {
    Comment(Vec<String>),
    Command(Command),
}

/// Reads a script. Expected output is kept as text and compared later.
fn parse(script: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut taking_input = false;
    for (n, line) in script.lines().enumerate() {
        if let Some(text) = line.strip_prefix("> ") {
            parts.push(Part::Command(Command { line: n + 1, text: text.trim().to_owned(), input: Vec::new() }));
            taking_input = true;
        } else if line.starts_with('#') {
            match parts.last_mut() {
                Some(Part::Comment(lines)) => lines.push(line.to_owned()),
                _ => parts.push(Part::Comment(vec![line.to_owned()])),
            }
        } else if let (true, Some(input), Some(Part::Command(command))) =
            (taking_input, line.strip_prefix('|'), parts.last_mut())
        {
            command.input.push(input.strip_prefix(' ').unwrap_or(input).to_owned());
        } else {
            taking_input = false;
        }
    }
    parts
}

/// The output of a command as a script shows it: lines that would be read as a part of the script are escaped.
fn quoted(output: &str) -> String {
    let escaped = |line: &str| {
        if line.starts_with(['>', '#', '|', '\\']) { format!("\\{line}\n") } else { format!("{}\n", line.trim_end()) }
    };
    let text: String = output.trim_end().lines().map(escaped).collect();
    text
}

/// The environment of the program.
struct Surroundings {
    cloud: Cloud,
    folder: PathBuf,
    printed: Mutex<String>,
    /// Signals that the process dies.
    death: Mutex<Option<Arc<Notify>>>,
    died: Mutex<bool>,
    /// Signals Ctrl-C.
    interrupt: Mutex<Option<watch::Receiver<bool>>>,
}

fn within<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host for Surroundings {
    fn clouds(&self) -> Option<Clouds> {
        Some(Clouds { register: self.cloud.register(), providers: vec![Box::new(self.cloud.clone())] })
    }

    fn environment(&self) -> ProcessEnvironment {
        ProcessEnvironment { ci: true, user: Some("ada".into()), ..ProcessEnvironment::default() }
    }

    fn terminals(&self) -> Terminals {
        Terminals::default()
    }

    fn write(&self, _: Output, bytes: &[u8]) -> std::io::Result<()> {
        within(&self.printed).push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn now(&self) -> jiff::Zoned {
        jiff::civil::date(2026, 1, 1).at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn interrupts(&self) -> Interrupts {
        let Some(mut pressed) = within(&self.interrupt).clone() else { return Box::pin(stream::pending()) };
        let once = stream::once(async move {
            let _ = pressed.wait_for(|pressed| *pressed).await;
        });
        Box::pin(once.chain(stream::pending()))
    }

    fn block_on(&self, _: Meanwhile, work: BlockingWork<'_>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let death = within(&self.death).clone().unwrap_or_default();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = death.notified() => *within(&self.died) = true,
                () = work => {}
            }
        });
        Ok(())
    }
}

/// A script in progress.
struct Stage {
    around: Arc<Surroundings>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let around = Surroundings {
            cloud: Cloud::new(),
            folder: folder.path().to_owned(),
            printed: Mutex::default(),
            death: Mutex::default(),
            died: Mutex::default(),
            interrupt: Mutex::default(),
        };
        Self { around: Arc::new(around), folder }
    }

    /// Runs one command, and returns its output.
    fn perform(&self, command: &Command) -> Result<String, String> {
        let words = words(&command.text)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let input = command.input.join("\n");
        let takes_input = matches!(
            words.as_slice(),
            ["spec" | "edit"] | ["outside:", "create" | "change", ..] | ["outside:", "add", "statement", ..]
        );
        match (takes_input, command.input.is_empty()) {
            (true, true) => return Err("it needs input: lines that begin with `| `".into()),
            (false, false) => return Err("it takes no input".into()),
            _ => {}
        }
        match words.as_slice() {
            [name, .., "|", "tail", count] if PROGRAM.contains(name) => {
                let count: usize = count.trim_start_matches('-').parse().map_err(|e| format!("`{count}`: {e}"))?;
                return Ok(last(&self.program(&words[..words.len() - 3]), count));
            }
            [name, ..] if PROGRAM.contains(name) => return Ok(self.program(&words)),
            ["outside:", "show", kind, name] => {
                let id = self.find(kind, name)?;
                return Ok(serde_json::to_string_pretty(&self.around.cloud.world().show(&id)).unwrap());
            }
            ["spec"] => self.write_spec(&(input + "\n"))?,
            ["edit"] => self.write_spec(&edited(&self.spec()?, &command.input)?)?,
            ["lose", "state"] => {
                fs::remove_dir_all(self.folder.path().join("state")).map_err(|e| format!("the state: {e}"))?;
            }
            ["outside:", outside @ ..] => self.outside(outside, &input)?,
            ["fault:", fault @ ..] => self.fault(fault)?,
            _ => return Err("there is no such command".into()),
        }
        Ok(String::new())
    }

    /// Runs the program.
    fn program(&self, words: &[&str]) -> String {
        // Ids are random.
        fastrand::seed(7);
        within(&self.around.printed).clear();
        let arguments = std::iter::once("bailiwick").chain(words.iter().copied()).map(OsString::from);
        let host: Arc<dyn Host> = self.around.clone();
        let exit = cli::run(arguments, &host);
        let mut output = std::mem::take(&mut *within(&self.around.printed));
        let (died, interrupted) =
            (std::mem::take(&mut *within(&self.around.died)), within(&self.around.interrupt).take());
        drop(interrupted);
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        match (died, exit) {
            (true, _) => output.push_str("[the process died]"),
            (false, Exit::Ok) => {}
            (false, exit) => {
                let _ = write!(output, "[exit {}]", exit as u8);
            }
        }
        // The folder differs in each run.
        output.replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn spec(&self) -> Result<String, String> {
        fs::read_to_string(self.folder.path().join(SPEC)).map_err(|e| format!("the spec: {e}"))
    }

    fn write_spec(&self, text: &str) -> Result<(), String> {
        fs::write(self.folder.path().join(SPEC), text).map_err(|e| e.to_string())?;
        // A spec with problems relies on nothing.
        if let (Some(spec), _) = load(&[SourceFile { name: SPEC.into(), text: text.into() }]) {
            self.around.cloud.prepare(&spec);
        }
        Ok(())
    }

    fn find(&self, kind: &str, name: &str) -> Result<Id, String> {
        let world = self.around.cloud.world();
        let found: Vec<&Id> = world.ids().filter(|id| id.kind == kind && id.name == name).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            _ => {
                let all: Vec<String> = world.ids().map(ToString::to_string).collect();
                Err(format!("{} objects are called `{name}`; there are:\n{}", found.len(), all.join("\n")))
            }
        }
    }

    /// Makes an outside change.
    fn outside(&self, words: &[&str], input: &str) -> Result<(), String> {
        let body = || serde_saphyr::from_str::<Value>(input).map_err(|e| format!("the input: {e}"));
        let cloud = &self.around.cloud;
        match words {
            ["create", kind, name, "in", place] => {
                let id = Id { kind: (*kind).into(), place: (*place).into(), name: (*name).into() };
                if cloud.world().get(&id).is_some() {
                    return Err(format!("{id} exists already"));
                }
                let body = body()?;
                cloud.world().have(id, &body);
            }
            ["delete", kind, name] => {
                let id = self.find(kind, name)?;
                cloud.world().remove(&id);
            }
            ["change", kind, name] => {
                let (id, patch) = (self.find(kind, name)?, body()?);
                cloud.world().edit(&id, |live| merge(live, &patch));
            }
            ["add", "statement", "to", kind, name] => {
                let (id, statement) = (self.find(kind, name)?, body()?);
                cloud.world().add_statement(&id, statement);
            }
            ["remove", "statement", sid, "from", kind, name] => {
                let id = self.find(kind, name)?;
                let mut removed = 0;
                cloud.world().edit(&id, |policy| {
                    if let Some(statements) = policy["Statement"].as_array_mut() {
                        let before = statements.len();
                        statements.retain(|statement| statement["Sid"] != *sid);
                        removed = before - statements.len();
                    }
                });
                if removed != 1 {
                    return Err(format!("{removed} statements have this Sid"));
                }
            }
            ["put", "an", "object", "into", bucket] => {
                self.find("aws.s3.bucket", bucket)?;
                cloud.world().fill(bucket);
            }
            _ => return Err("nobody can do this".into()),
        }
        Ok(())
    }

    /// Sets a fault.
    fn fault(&self, words: &[&str]) -> Result<(), String> {
        let cloud = &self.around.cloud;
        let count = |n: &str| n.parse::<usize>().map_err(|e| format!("`{n}`: {e}"));
        match words {
            ["deny", "reading", address] => cloud.deny_read(address),
            ["deny", "writing", address] => {
                let (what, why) = (format!("write {address}"), "403: AccessDenied".to_owned());
                cloud.fail_write(address, WriteError::Denied { what, why });
            }
            ["cluster", key, "does", "not", "answer"] => cloud.silence(key),
            ["lose", "the", "answer", "to", "writing", address] => cloud.lose_answer(address),
            ["crash", "before", "write", n] => {
                *within(&self.around.death) = Some(cloud.kill_at(count(n)?, Cut::BeforeCall));
            }
            ["crash", "after", "write", n] => {
                *within(&self.around.death) = Some(cloud.kill_at(count(n)?, Cut::AfterCall));
            }
            ["interrupt", "after", "write", n] => {
                *within(&self.around.interrupt) = Some(cloud.stop_after(count(n)?));
            }
            ["none"] => {
                self.struck()?;
                cloud.clear_faults();
            }
            _ => return Err("nothing fails like this".into()),
        }
        Ok(())
    }

    /// Asserts that every fault has occurred.
    fn struck(&self) -> Result<(), String> {
        match self.around.cloud.world().idle_faults().as_slice() {
            [] => Ok(()),
            idle => Err(format!("faults that never struck: {}", idle.join(", "))),
        }
    }
}

/// The words of a line; text in single quotes is one word.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for (n, piece) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(ToOwned::to_owned));
        }
    }
    if line.matches('\'').count().is_multiple_of(2) { Ok(words) } else { Err("a quote is not closed".into()) }
}

/// The last lines of an output, with the exit code that may follow them.
fn last(output: &str, count: usize) -> String {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    let count = count + usize::from(lines.last().is_some_and(|line| line.starts_with('[')));
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Applies the hunks of a diff to a text.
fn edited(text: &str, hunks: &[String]) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    for hunk in hunks.split(|line| line.trim().is_empty()) {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for line in hunk {
            let (sign, rest) = line.split_at(1);
            match sign {
                "-" => old.push(rest.to_owned()),
                "+" => new.push(rest.to_owned()),
                " " => {
                    old.push(rest.to_owned());
                    new.push(rest.to_owned());
                }
                _ => return Err(format!("`{line}` begins with none of `-`, `+` and a space")),
            }
        }
        if old.is_empty() {
            lines.append(&mut new);
            continue;
        }
        let places: Vec<usize> = (0..lines.len()).filter(|n| lines[*n..].starts_with(&old)).collect();
        let [place] = places.as_slice() else {
            return Err(format!("{} places of the spec fit the hunk:\n{}", places.len(), hunk.join("\n")));
        };
        lines.splice(*place..place + old.len(), new);
    }
    Ok(lines.join("\n") + "\n")
}

/// Applies a merge patch to a value (RFC 7396).
pub fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let value = value.as_object_mut().unwrap();
    for (key, inner) in patch {
        if inner.is_null() {
            value.remove(key);
        } else {
            merge(value.entry(key.clone()).or_insert(Value::Null), inner);
        }
    }
}

/// Plays a script, and returns it with its current output.
///
/// # Panics
/// If a command cannot be run.
#[must_use]
pub fn play(name: &str, script: &str) -> String {
    let stage = Stage::new();
    let mut played: Vec<String> = Vec::new();
    for part in parse(script) {
        match part {
            Part::Comment(lines) => played.push(lines.join("\n") + "\n"),
            Part::Command(command) => {
                let failed = |why: String| panic!("{name}:{}: `{}`: {why}", command.line, command.text);
                let output = stage.perform(&command).unwrap_or_else(failed);
                let input: String =
                    command.input.iter().map(|line| format!("| {line}").trim_end().to_owned() + "\n").collect();
                played.push(format!("> {}\n{input}{}", command.text, quoted(&output)));
            }
        }
    }
    stage.struck().unwrap_or_else(|why| panic!("{name}: {why}"));
    // A role that is replaced in place is deleted before the documents that name it change.
    let world = stage.around.cloud.world();
    let violations = world.violations().iter().filter(|v| v.needed_by.is_none());
    let violations: Vec<String> = violations.map(|v| format!("{}: {}", v.address, v.what)).collect();
    assert_eq!(violations, Vec::<String>::new(), "{name}: a step came before what it waits for");
    played.join("\n")
}

/// Plays the script of a file and compares its output with the expected one, or rewrites it.
///
/// # Panics
/// If the output differs.
pub fn check(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let script = fs::read_to_string(path).unwrap();
    let played = play(&name, &script);
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, played).unwrap();
        return;
    }
    let differs = script.lines().zip(played.lines()).position(|(expected, now)| expected != now);
    let differs = differs.map_or_else(|| script.lines().count().min(played.lines().count()) + 1, |n| n + 1);
    assert!(
        script == played,
        "{name}:{differs}: the output is another; it was expected to be\n{}\nand is\n{}\nSee BLESS=1.",
        around(&script, differs),
        around(&played, differs)
    );
}

/// Some lines of a text.
fn around(text: &str, line: usize) -> String {
    let from = line.saturating_sub(4);
    let lines: Vec<String> = text.lines().skip(from).take(12).map(|line| format!("    {line}")).collect();
    lines.join("\n")
}
