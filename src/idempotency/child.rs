//! Debian's PostgreSQL as a private child: a directory, a socket and a password of its own, and no port at all.
//!
//! A shell stands between: it starts the server, waits until a pipe closes whose other end only this process holds,
//! ends the server and removes its directory. The kernel closes the pipe when this process ends, so that a killed run
//! leaves no server behind either. The server runs as another user where we are root: PostgreSQL refuses to be root.

use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::directory::{OwnDirectory, secret_text};
use super::error::StoreError;
use crate::endpoint::Secret;

const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);
const ENDED_WITHIN: Duration = Duration::from_secs(10);
const ENDED_POLL: Duration = Duration::from_millis(5);
const LOG_LINES: usize = 20;

/// Members of a fleet hold a connection each; PostgreSQL's own limit of 100 is too low for that.
pub(super) const CONNECTIONS_MAX: u16 = 1000;

/// `sockaddr_un` has 108 bytes, one of them for the end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
const SOCKET: &str = ".s.PGSQL.5432";

/// Written when the server has ended, whoever ended it.
const ENDED_FILE: &str = "ended";
const LOG_FILE: &str = "server.log";

/// SIGQUIT is PostgreSQL's immediate shutdown: what it holds is removed at once anyway.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
dir=$1
shift
"$@" 3<&- >"$dir/server.log" 2>&1 &
server=$!
{ read -r _ <&3; [ -e "$dir/ended" ] || kill -QUIT "$server"; } &
wait "$server"
echo "$?" >"$dir/ended"
wait
cd / && rm -rf "$dir"
"#;

/// A server that runs until this is dropped, or this process ends.
#[derive(Debug)]
pub(super) struct ChildServer {
    url: Secret,
    directory: OwnDirectory,
    supervisor: Mutex<Option<Child>>,
}

/// Who the server runs as, where that is not who we are.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl ChildServer {
    /// Starts one of `programs` and waits until it answers. It takes about a second.
    pub(super) async fn start(programs: PathBuf) -> Result<Self, StoreError> {
        let joined = tokio::task::spawn_blocking(move || Self::spawn(&programs)).await;
        let server = joined.map_err(|error| StoreError::system("start PostgreSQL")(std::io::Error::other(error)))??;
        server.ready().await?;
        Ok(server)
    }

    pub(super) fn url(&self) -> &Secret {
        &self.url
    }

    #[cfg(test)]
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it and removes all that it held.
    pub(super) async fn stop(self) -> Result<(), StoreError> {
        let joined = tokio::task::spawn_blocking(move || self.end()).await;
        joined.map_err(|error| StoreError::system("end PostgreSQL")(std::io::Error::other(error)))?
    }

    /// Prepares a directory and starts the server in it. Blocks for about half a second.
    fn spawn(programs: &Path) -> Result<Self, StoreError> {
        let user = another_user()?;
        let directory = OwnDirectory::create(&user.iter().map(|user| user.uid).collect::<Vec<_>>())?;
        let path = directory.path().to_owned();
        if path.join(SOCKET).as_os_str().len() > SOCKET_PATH_MAX {
            return Err(StoreError::PathTooLong { path: path.display().to_string() });
        }
        let password = secret_text()?;
        write_password(&path, &password)?;
        if let Some(User { uid, gid }) = user {
            for owned in [path.clone(), path.join("password")] {
                let action = format!("hand {} to another user", owned.display());
                chown(&owned, Some(uid), Some(gid)).map_err(StoreError::system(action))?;
            }
        }
        initialise(programs, &path, user)?;
        let socket_directory = percent_encoding::utf8_percent_encode(
            path.to_str().ok_or_else(|| StoreError::PathTooLong { path: path.display().to_string() })?,
            percent_encoding::NON_ALPHANUMERIC,
        );
        let url = Secret::new(format!("postgres://lurcher:{password}@{socket_directory}/postgres"));
        let supervisor = supervise(programs, &path, user)?;
        Ok(Self { url, directory, supervisor: Mutex::new(Some(supervisor)) })
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let started = Instant::now();
        loop {
            let error = match super::postgres::connect(&super::postgres::config(&self.url)?, "ready").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let path = self.directory.path();
            if let Ok(status) = std::fs::read_to_string(path.join(ENDED_FILE)) {
                return Err(StoreError::Died {
                    how: format!("it ended with status {}", status.trim()),
                    log: last_lines(&std::fs::read(path.join(LOG_FILE)).unwrap_or_default()),
                });
            }
            if started.elapsed() > READY_WITHIN {
                return Err(StoreError::NotReady { after: READY_WITHIN, last: error.to_string() });
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    fn end(&self) -> Result<(), StoreError> {
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut supervisor) = supervisor {
            drop(supervisor.stdin.take());
            let started = Instant::now();
            while matches!(supervisor.try_wait(), Ok(None)) {
                if started.elapsed() > ENDED_WITHIN {
                    if let Some(group) = Pid::from_raw(supervisor.id().cast_signed()) {
                        let _already_gone = kill_process_group(group, Signal::KILL);
                    }
                    let _status = supervisor.wait();
                    break;
                }
                std::thread::sleep(ENDED_POLL);
            }
        }
        self.directory.remove()
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        let _left_for_the_next_run = self.end();
    }
}

/// The directory with the newest release's programs; an error with the command that installs them.
pub(super) fn find_programs() -> Result<PathBuf, StoreError> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    find_programs_in(Path::new("/usr/lib/postgresql"), std::env::split_paths(&in_path))
}

/// `debian` holds a directory for each release.
fn find_programs_in(debian: &Path, in_path: impl Iterator<Item = PathBuf>) -> Result<PathBuf, StoreError> {
    let release = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        // Releases before 10 have names with a dot; nobody has had them for years.
        Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
    };
    let mut releases: Vec<_> = std::fs::read_dir(debian).into_iter().flatten().filter_map(release).collect();
    releases.sort_by(|one, other| other.cmp(one));
    releases
        .into_iter()
        .map(|(_, programs)| programs)
        .chain(in_path)
        .find(|programs| programs.join("initdb").exists() && programs.join("postgres").exists())
        .ok_or_else(|| StoreError::NoServer { searched: format!("{}/*/bin or PATH", debian.display()) })
}

/// Who the server is to run as; none: as we do.
fn another_user() -> Result<Option<User>, StoreError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd").map_err(StoreError::system("read /etc/passwd"))?;
    ["postgres", "nobody"].iter().find_map(|name| account(&accounts, name)).map(Some).ok_or(StoreError::NoUser)
}

/// An account of `/etc/passwd` (passwd(5)).
fn account(accounts: &str, name: &str) -> Option<User> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (*fields.first()? == name)
            .then_some(User { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    })
}

fn write_password(path: &Path, password: &str) -> Result<(), StoreError> {
    let file = path.join("password");
    let action = format!("write {}", file.display());
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    opened
        .and_then(|mut opened| std::io::Write::write_all(&mut opened, password.as_bytes()))
        .map_err(StoreError::system(action))
}

/// A command with nothing of our environment that runs in `path`.
fn command(program: &Path, path: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").current_dir(path);
    // Of its own, so that Ctrl-C in the terminal reaches us alone and we decide what ends when.
    command.process_group(0);
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn initialise(programs: &Path, path: &Path, user: Option<User>) -> Result<(), StoreError> {
    let program = programs.join("initdb");
    let action = format!("run {}", program.display());
    let output = command(&program, path, user)
        .args(["--pgdata=data", "--username=lurcher", "--pwfile=password", "--auth=scram-sha-256"])
        // A machine that fails between here and the first commit loses a store whose run it ended as well.
        .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        .stdin(Stdio::null())
        .output()
        .map_err(StoreError::system(action))?;
    // The server knows it by now.
    std::fs::remove_file(path.join("password")).map_err(StoreError::system("remove the file with the password"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = last_lines(&[output.stdout, output.stderr].concat());
    Err(StoreError::Died { how: format!("{}: {}", program.display(), output.status), log })
}

fn supervise(programs: &Path, path: &Path, user: Option<User>) -> Result<Child, StoreError> {
    command(Path::new("/bin/sh"), path, user)
        .args(["-c", SUPERVISOR, "lurcher-store"])
        .arg(path)
        .arg(programs.join("postgres"))
        .arg("-D")
        .arg(path.join("data"))
        .args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "unix_socket_permissions=0700"])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", path.display()))
        .arg("-c")
        .arg(format!("max_connections={CONNECTIONS_MAX}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(StoreError::system(format!("start {}", programs.join("postgres").display())))
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_taken_and_a_missing_one_says_how_to_install_it() {
        let debian = tempfile::tempdir().unwrap();
        let nothing = find_programs_in(debian.path(), std::iter::empty()).unwrap_err().to_string();
        assert!(nothing.contains("`sudo apt-get install postgresql`"), "{nothing}");
        for (release, programs) in [("9", 2), ("15", 2), ("17", 1)] {
            let directory = debian.path().join(release).join("bin");
            std::fs::create_dir_all(&directory).unwrap();
            for program in ["initdb", "postgres"].iter().take(programs) {
                std::fs::write(directory.join(program), "").unwrap();
            }
        }
        let found = find_programs_in(debian.path(), std::iter::empty()).unwrap();
        assert_eq!(found, debian.path().join("15/bin"), "17 is a client without a server");
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "postgresql:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert!(account(accounts, "postgres").is_some_and(|user| (user.uid, user.gid) == (101, 104)));
        assert!(account(accounts, "nobody").is_none());
    }

    /// Scripts in place of PostgreSQL's programs, which everybody may run.
    fn programs(initdb: &str, postgres: &str) -> tempfile::TempDir {
        let all_may = |path: &Path| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, mode).unwrap();
        };
        let directory = tempfile::tempdir().unwrap();
        all_may(directory.path());
        for (name, text) in [("initdb", initdb), ("postgres", postgres)] {
            std::fs::write(directory.path().join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            all_may(&directory.path().join(name));
        }
        directory
    }

    #[test]
    fn a_server_that_cannot_be_initialised_says_why_and_leaves_nothing() {
        let programs = programs("echo no room; pwd; exit 3", "");
        let StoreError::Died { how, log } = ChildServer::spawn(programs.path()).unwrap_err() else { panic!("it died") };
        let (reason, directory) = log.split_once('\n').unwrap();
        assert!(how.ends_with("exit status: 3") && reason == "no room", "{how}: {log}");
        assert!(!Path::new(directory).exists(), "{directory} is left");
    }

    #[tokio::test]
    async fn a_server_that_ends_at_once_says_why_and_leaves_nothing() {
        let programs = programs("", "echo out of luck; exit 7");
        let server = ChildServer::spawn(programs.path()).unwrap();
        let StoreError::Died { how, log } = server.ready().await.unwrap_err() else { panic!("it died") };
        assert!(how.ends_with("status 7") && log == "out of luck", "{how}: {log}");
        let directory = server.directory().to_owned();
        drop(server);
        assert!(!directory.exists(), "{} is left", directory.display());
    }
}
