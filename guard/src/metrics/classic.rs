//! OpenMetrics' text as Prometheus' older text format, which names families as its samples
//! are named.

use std::collections::HashMap;

/// The same exposition in text format 0.0.4.
pub(super) fn of(openmetrics: &str) -> String {
    let mut kinds: HashMap<&str, &str> = HashMap::new();
    for line in openmetrics.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            kinds.insert(name, kind);
        }
    }
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let Some((word, name, rest)) = comment(line) else {
            // A sample is written alike; the end of the file and units are not told.
            if !line.starts_with('#') {
                text.push_str(line);
                text.push('\n');
            }
            continue;
        };
        let (suffix, kind) = match kinds.get(name) {
            Some(&"counter") => ("_total", "counter"),
            Some(&"info") => ("_info", "gauge"),
            Some(kind) => ("", *kind),
            None => ("", "untyped"),
        };
        let rest = if word == "TYPE" { kind } else { rest };
        text.push_str(&format!("# {word} {name}{suffix} {rest}\n"));
    }
    text
}

/// What a `HELP` or `TYPE` line says of which family.
fn comment(line: &str) -> Option<(&str, &str, &str)> {
    let mut parts = line.strip_prefix("# ")?.splitn(3, ' ');
    let (word, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
    ["HELP", "TYPE"].contains(&word).then_some((word, name, rest))
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn families_are_named_as_their_samples() {
        let text = "# HELP a_seconds Some time.\n# TYPE a_seconds counter\n\
                    # UNIT a_seconds seconds\na_seconds_total{b=\"# HELP x\"} 1\n\
                    # HELP b What it is\n# TYPE b info\nb_info{c=\"d\"} 1\n\
                    # HELP c Level\n# TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_seconds_total Some time.\n# TYPE a_seconds_total counter\n\
                        a_seconds_total{b=\"# HELP x\"} 1\n\
                        # HELP b_info What it is\n# TYPE b_info gauge\nb_info{c=\"d\"} 1\n\
                        # HELP c Level\n# TYPE c gauge\nc 2\n";
        assert_eq!(of(text), expected);
    }
}
