//! Real processes under a real supervisor: what ends comes back, what is stopped stays stopped, nothing is left over.

use std::fs;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::temporary::TemporaryFolder;
use crate::{leftover, wait};

const LIMIT: Duration = Duration::from_secs(20);

fn shell(folder: &TemporaryFolder, name: &'static str, script: &str) -> Service {
    let script = script.to_owned();
    Service {
        name,
        log: folder.path().join(name).with_extension("log"),
        command: Box::new(move || {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            Ok(command)
        }),
        stop_signal: Signal::TERM,
        patience: Duration::from_secs(5),
    }
}

fn supervisor() -> (Supervisor, Receiver<Event>) {
    let (sender, events) = channel();
    let supervisor = Supervisor::new(move |event| drop(sender.send(event.clone()))).unwrap();
    (supervisor, events)
}

fn number(pid: u32) -> i32 {
    i32::try_from(pid).unwrap()
}

#[test]
fn a_killed_process_is_started_again_and_said_so() {
    let folder = TemporaryFolder::new("supervisor").unwrap();
    let (supervisor, events) = supervisor();
    let first = supervisor.start(shell(&folder, "origin", "exec sleep 86401")).unwrap();
    supervisor.signal("origin", Signal::KILL).unwrap();
    let again = wait::until(LIMIT, || supervisor.status("origin").pid.filter(|pid| *pid != first)).unwrap();
    let told: Vec<Event> = events.try_iter().collect();
    assert_eq!(
        told[0],
        Event::Started {
            name: "origin",
            pid: first,
            starts: 1
        }
    );
    assert!(
        matches!(&told[1], Event::Ended { name: "origin", how, .. } if how == "signal 9"),
        "{told:?}"
    );
    assert_eq!(
        told[2],
        Event::Started {
            name: "origin",
            pid: again,
            starts: 2
        }
    );
}

#[test]
fn stopping_goes_backwards_and_leaves_nothing() {
    let folder = TemporaryFolder::new("supervisor").unwrap();
    let order = folder.path().join("order");
    let script = |name: &str| {
        let order = order.display();
        format!("trap 'echo {name} >> {order}; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    };
    let (mut supervisor, _events) = supervisor();
    for name in ["postgres", "origin", "edge"] {
        supervisor.start(shell(&folder, name, &script(name))).unwrap();
        let log = folder.path().join(name).with_extension("log");
        wait::until(LIMIT, || tail(&log, 1).contains("up").then_some(())).unwrap();
    }
    supervisor.stop();
    assert_eq!(fs::read_to_string(order).unwrap(), "edge\norigin\npostgres\n");
    assert_eq!(supervisor.status("edge").pid, None);
}

#[test]
fn what_ignores_the_request_is_killed_with_its_children() {
    let folder = TemporaryFolder::new("supervisor").unwrap();
    let (mut supervisor, _events) = supervisor();
    let mut stubborn = shell(
        &folder,
        "edge",
        "trap '' TERM; sleep 86402 & echo up; while :; do sleep 0.02; done",
    );
    stubborn.patience = Duration::from_millis(200);
    let pid = supervisor.start(stubborn).unwrap();
    let log = folder.path().join("edge.log");
    wait::until(LIMIT, || tail(&log, 1).contains("up").then_some(())).unwrap();
    let children = leftover::descendants(number(pid));
    let (sleeper, _) = children.iter().find(|(_, line)| line.contains("sleep 86402")).unwrap();
    supervisor.stop();
    assert!(wait::until(LIMIT, || (!leftover::runs(*sleeper, "sleep 86402")).then_some(())).is_some());
}

#[test]
fn a_suspended_service_stays_away_until_it_is_resumed() {
    let folder = TemporaryFolder::new("supervisor").unwrap();
    let (supervisor, events) = supervisor();
    let first = supervisor
        .start(shell(&folder, "postgres", "exec sleep 86403"))
        .unwrap();
    supervisor.suspend("postgres").unwrap();
    assert!(!leftover::runs(number(first), "sleep 86403"));
    assert_eq!(supervisor.status("postgres").pid, None);
    let second = supervisor.resume("postgres").unwrap();
    assert_ne!(first, second);
    assert_eq!(
        supervisor.resume("postgres").unwrap(),
        second,
        "what runs is not started twice"
    );
    let started = events
        .try_iter()
        .filter(|event| matches!(event, Event::Started { .. }))
        .count();
    assert_eq!(started, 2, "nobody else started it meanwhile");
    assert!(supervisor.suspend("nothing").is_err());
}

#[test]
fn a_program_that_is_not_there_is_an_error_at_once() {
    let folder = TemporaryFolder::new("supervisor").unwrap();
    let (supervisor, _events) = supervisor();
    let mut missing = shell(&folder, "origin", "");
    missing.command = Box::new(|| Ok(Command::new("/nonexistent/kado")));
    assert!(format!("{:#}", supervisor.start(missing).unwrap_err()).contains("starting origin"));
    assert_eq!(supervisor.status("origin"), Status::default());
}

#[test]
#[cfg(target_os = "linux")]
fn children_end_with_the_thread_that_started_them() {
    let folder = TemporaryFolder::new("supervisor").unwrap();
    let service = shell(&folder, "cache", "exec sleep 86404");
    // A thread that ends without stopping anything stands for a supervisor that was killed.
    let pid = thread::spawn(move || child::spawn(&service).map(|child| child.id()))
        .join()
        .unwrap()
        .unwrap();
    assert!(wait::until(LIMIT, || (!leftover::runs(number(pid), "sleep 86404")).then_some(())).is_some());
}
