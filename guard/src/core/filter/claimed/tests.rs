use super::*;

fn subject(daemon: Daemon, line: &str) -> Subject<'_> {
    let message_start = line.find(": ").map_or(0, |at| at + 2);
    Subject { line, message_start, daemon: Some(daemon), lines: &[] }
}

/// The line with what the client controls replaced by one underscore a span.
fn masked(daemon: Daemon, line: &str) -> String {
    let mut out = line.to_owned();
    for span in claims(&subject(daemon, line)).spans.into_iter().rev() {
        out.replace_range(span, "_");
    }
    out
}

#[test]
fn every_form_compiles_and_has_one_place_for_the_address() {
    for form in sshd::FORMS.iter().chain(&pvedaemon::FORMS).chain(&PAM) {
        let (last, first) = form.compile();
        assert_eq!(first.is_some(), form.reading == Reading::Either, "{}", form.head);
        assert!(last.capture_names().flatten().count() > 0, "{}: {}", form.head, form.tail);
        if form.reading == Reading::Either || form.reports_failure {
            let has_host = last.capture_names().flatten().any(|name| name == "host");
            assert!(has_host || form.tail.contains("locked"), "{}: {}", form.head, form.tail);
        }
    }
}

#[test]
fn the_clients_spans_of_sshd() {
    for (line, expected) in [
        (
            "pve sshd[1]: Invalid user a from 1.1.1.1 from 2.2.2.2 port 22",
            "pve sshd[1]: Invalid user _ from 2.2.2.2 port 22",
        ),
        (
            "pve sshd[1]: error: maximum authentication attempts exceeded for a from 2.2.2.2 port 22 ssh2 [preauth]",
            "pve sshd[1]: error: maximum authentication attempts exceeded for _ from 2.2.2.2 port 22 ssh2 [preauth]",
        ),
        (
            "pve sshd[1]: Received disconnect from 2.2.2.2 port 22:11: Bye 1.1.1.1",
            "pve sshd[1]: Received disconnect from 2.2.2.2 port 22:11: _",
        ),
        (
            "pve sshd[1]: Accepted publickey for a from 2.2.2.2 port 22 ssh2: RSA SHA256:abc",
            "pve sshd[1]: Accepted publickey for _ from 2.2.2.2 port 22 ssh2: RSA SHA256:abc",
        ),
        // A name where the address belongs was chosen by whoever runs the reverse DNS.
        (
            "pve sshd[1]: User a from 1.1.1.1.evil not allowed because listed in DenyUsers",
            "pve sshd[1]: User _ from _ not allowed because listed in DenyUsers",
        ),
        // One reading, and two.
        (
            "pve sshd[1]: Failed hostbased for a from 2.2.2.2 port 22 ssh2: RSA SHA256:a, client user \"b\"",
            "pve sshd[1]: Failed hostbased for _ from 2.2.2.2 port 22 ssh2: _",
        ),
        (
            "pve sshd[1]: Failed hostbased for a from 2.2.2.2 port 22 ssh2: x from 1.1.1.1 port 22 ssh2",
            "pve sshd[1]: _",
        ),
        // Another program of the unit.
        ("pve su[1]: pam_unix(su:auth): rhost=1.1.1.1", "pve su[1]: _"),
    ] {
        assert_eq!(masked(Daemon::Sshd, line), expected);
    }
}

#[test]
fn the_clients_spans_of_pvedaemon() {
    for (line, expected) in [
        (
            "pve pvedaemon[1]: authentication failure; rhost=2.2.2.2 user=a@pam msg=b",
            "pve pvedaemon[1]: authentication failure; rhost=2.2.2.2 user=_ msg=_",
        ),
        (
            "pve pvedaemon[1]: authentication failure; rhost=2.2.2.2 user=a; rhost=1.1.1.1 user=a msg=b",
            "pve pvedaemon[1]: authentication failure; rhost=2.2.2.2 user=_",
        ),
        ("pve pvedaemon[1]: rhost=1.1.1.1", "pve pvedaemon[1]: _"),
    ] {
        assert_eq!(masked(Daemon::Pvedaemon, line), expected);
    }
}

#[test]
fn a_plain_name_is_not_elaborate() {
    for (user, elaborate) in [("root", false), ("a.b-c_d@pam", false), ("a b", true), ("é", true)]
    {
        let line = format!("pve sshd[1]: Invalid user {user} from 2.2.2.2 port 22");
        assert_eq!(claims(&subject(Daemon::Sshd, &line)).elaborate, elaborate, "{user}");
    }
}

#[test]
fn the_program_is_read_from_the_prefix() {
    for (before, name) in [
        ("pve sshd[1]: ", Some("sshd")),
        ("pve sshd: ", Some("sshd")),
        ("sshd[1]: ", Some("sshd")),
        (" pve sshd[1]: ", Some("sshd")),
        ("pve a sshd[1]: ", None),
        ("pve sshd[1] ", None),
        ("", None),
    ] {
        assert_eq!(program(before), name, "{before:?}");
    }
}

proptest::proptest! {
    #[test]
    fn all_forms_at_once_read_as_one_after_the_other_does(
        head in proptest::sample::select(
            sshd::FORMS.iter().chain(&PAM).map(|form| form.head).collect::<Vec<_>>()
        ),
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "password", "publickey", "for", "from", "invalid user", "root", "x y", "2.2.2.2",
                "::1", "port", "22", "ssh2", "ssh2: RSA SHA256:a", ": 11:", "é", "[preauth]",
                "by", "user", "authenticating", "authentication failure;", "rhost=1.1.1.1",
                "ruser=", "pam_unix(sshd:auth):", "user=", "to", "on", "id",
            ]),
            0..14,
        ),
    ) {
        let message = format!("{head}{}", words.join(" "));
        let forms = Forms::of(Daemon::Sshd);
        proptest::prop_assert!(forms.automaton.is_some());
        proptest::prop_assert_eq!(forms.read(&message, 7), forms.one_by_one(&message, 7));
    }
}
