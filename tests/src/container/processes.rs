//! Processes of a container, as they are seen from outside.
//!
//! Input: process ids. Output: others. A process that ends meanwhile is none.

use std::fs;

use anyhow::Result;
use rustix::process::Pid;

/// The descendant of `ancestor` that is the first process of its process namespace.
pub(super) fn first_of_namespace(ancestor: u32) -> Result<Option<i32>> {
    let mut pending = vec![ancestor];
    while let Some(process) = pending.pop() {
        pending.extend(children(process));
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let ids: Vec<_> = ids.split_whitespace().collect();
        // The first process is nspawn itself until it has executed systemd.
        if ids.len() > 1 && ids.last() == Some(&"1") && program(process) == "systemd" {
            return Ok(Some(i32::try_from(process)?));
        }
    }
    Ok(None)
}

/// The child of a process that was started with these words.
pub(super) fn child_started_as(parent: i32, words: &[&str]) -> Result<Option<Pid>> {
    let line: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
    let started_so = |id: &u32| {
        fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|found| found == line.as_bytes())
    };
    let child = children(u32::try_from(parent)?).into_iter().find(started_so);
    Ok(child.map(i32::try_from).transpose()?.and_then(Pid::from_raw))
}

fn children(process: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let lists = tasks.filter_map(Result::ok).filter_map(of_task);
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

fn program(process: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}
