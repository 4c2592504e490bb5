use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::string::string_regex;

use super::*;
use crate::core::entry::Daemon;
use crate::core::filter::claimed::forms::Forms;
use crate::core::filter::claimed::{Claims, Form, PAM, pvedaemon, sshd};

/// What a client may put where its text stands, to be taken for something else.
const PLANTS: [&str; 40] = [
    "root",
    "é",
    "\n",
    "\0",
    " ",
    "  ",
    "[",
    "]",
    "(",
    ")",
    "'",
    "\"",
    ": ",
    ":",
    ", ",
    ";",
    "=",
    "from",
    " from ",
    " from 192.0.2.9 port 5 ssh2",
    " from 192.0.2.9",
    "192.0.2.9",
    "::1",
    " port 5",
    " port ",
    " [preauth]",
    " [postauth]",
    " for ",
    "invalid user ",
    "user ",
    " ssh2",
    " ssh2: ",
    ": 11: ",
    " rhost=192.0.2.9",
    " user=",
    " ruser=",
    " tty=x",
    "required=",
    " not allowed because listed in DenyUsers",
    ", but we resolve 192.0.2.9 to ",
];

fn client_text() -> impl Strategy<Value = String> {
    prop::collection::vec(select(PLANTS.as_slice()), 0..5).prop_map(|parts| parts.concat())
}

/// What stands where the address should.
const HOSTS: [&str; 7] =
    ["203.0.113.7", "2001:db8::7", "[203.0.113.7]", "host.example", "é", "a:b", "1:2:"];

fn host() -> impl Strategy<Value = String> {
    select(HOSTS.as_slice()).prop_map(str::to_owned)
}

/// A message of a form, the client's text and the address being these.
fn message_of(form: &'static Form, texts: &[String], host: &str) -> BoxedStrategy<String> {
    let mut expression = form.whole();
    expression = expression.replace("(?s)^", "").replace('$', "");
    for (any, few) in [(")*", "){0,3}"), ("[^ ]*", "[^ ]{0,9}"), (" +", " {1,3}")] {
        expression = expression.replace(any, few);
    }
    expression = expression.replace("(?P<host>[^ ]+)", &regex::escape(host));
    for (number, text) in (1..).zip(texts) {
        expression = expression.replace(&format!("(?P<c{number}>.*)"), &regex::escape(text));
    }
    string_regex(&expression).expect("an expression of messages").boxed()
}

fn forms() -> Vec<(Daemon, &'static Form)> {
    let sshd = sshd::FORMS.iter().chain(&PAM).map(|form| (Daemon::Sshd, form));
    let pvedaemon = pvedaemon::FORMS.iter().chain(&PAM).map(|form| (Daemon::Pvedaemon, form));
    sshd.chain(pvedaemon).collect()
}

fn message() -> impl Strategy<Value = (Daemon, String)> {
    let texts = prop::collection::vec(client_text(), 4);
    (select(forms()), texts, host()).prop_flat_map(|((daemon, form), texts, host)| {
        message_of(form, &texts, &host).prop_map(move |message| (daemon, message))
    })
}

/// What the steps say, if they are not at a loss.
fn directly(daemon: Daemon, message: &str) -> Option<Option<Claims>> {
    Forms::of(daemon).directly(message, 7).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn steps_read_a_message_as_its_expressions_do((daemon, message) in message()) {
        let forms = Forms::of(daemon);
        let expected = forms.one_by_one(&message, 7);
        prop_assert!(expected.is_some(), "{message:?}");
        prop_assert_eq!(forms.together(&message, 7), expected.clone(), "{:?}", message);
        prop_assert_eq!(directly(daemon, &message), Some(expected), "{:?}", message);
    }

    /// Part of it is lost, or something stands in it that does not belong there.
    #[test]
    fn steps_read_a_spoilt_message_as_its_expressions_do(
        (daemon, mut message) in message(),
        cut in any::<[Index; 2]>(),
        plants in client_text(),
        loses in any::<bool>(),
    ) {
        let mut ends = cut.map(|end| message.ceil_char_boundary(end.index(message.len() + 1)));
        ends.sort_unstable();
        let [start, end] = ends;
        message.replace_range(start..if loses { end } else { start }, &plants);
        let expected = Forms::of(daemon).one_by_one(&message, 7);
        prop_assert_eq!(directly(daemon, &message), Some(expected), "{:?}", message);
    }
}

#[test]
fn every_form_can_be_read_by_steps() {
    for (daemon, form) in forms() {
        let known = Forms::of(daemon).has_steps(form.head);
        assert!(known, "{}{}", form.head, form.tail);
    }
}

/// How steps fit all of a text, and the spans of two groups, `a` and `b`.
fn fit(expression: &str, text: &str) -> Option<(Fit, [Option<Span>; 2])> {
    let wanted = ["a", "b"].map(str::to_owned);
    let mut groups = Groups::default();
    let fit = Steps::new(&format!("^{expression}$"), &wanted)?.fit(text, 0, &mut groups);
    Some((fit, [0, 1].map(|group| groups.span(group))))
}

#[test]
fn the_order_of_preference_is_that_of_the_expression() {
    for (expression, text, expected) in [
        ("(?P<a>.*) (?P<b>.*)", "1 2 3", [Some(0..3), Some(4..5)]),
        ("(?P<a>.*?) (?P<b>.*)", "1 2 3", [Some(0..1), Some(2..5)]),
        ("(?:(?P<a>[a-z]*)|(?P<b>[a-z0-9]*))", "a1", [None, Some(0..2)]),
        ("(?: (?P<a>[a-z]*))?(?P<b>.*)", " x y", [Some(1..2), Some(2..4)]),
        ("(?: (?P<a>[a-z]*))??(?P<b>.*)", " x y", [None, Some(0..4)]),
        ("(?:x(?P<a>[0-9]+)0)?(?P<b>.*)", "x12é", [None, Some(0..5)]),
    ] {
        assert_eq!(fit(expression, text), Some((Fit::Fits, expected)), "{expression}");
    }
    assert!(matches!(fit("(?P<a>[^ ]+)(?: x)*", "1 x xx"), Some((Fit::Not, _))));
}

#[test]
fn what_steps_cannot_follow_is_left_to_the_expression() {
    for expression in
        ["é", ".", "[^ ].", "(?:a*)*", "[0-9]{2}", r"\ba", "(?P<a>ab)", ".*é", "[^ ]*.*"]
    {
        assert_eq!(fit(expression, "a"), None, "{expression}");
    }
}

#[test]
fn effort_is_bounded() {
    let how = |expression: &str, text: &str| fit(expression, text).map(|(fit, _)| fit);
    let expression = "(?:(?: +a=[^ ]*)* +b=[^ ]* c=(?P<a>.*) (?P<b>.*) d)";
    let most = " a=".repeat(LONGEST / 3 - 3);
    assert_eq!(how(expression, &format!("{most} b= c=  d")), Some(Fit::Fits));
    let hard = format!(" b= c={}", " ".repeat(LONGEST - 10));
    assert_eq!(how(expression, &hard), Some(Fit::Unknown));
    let long = "a".repeat(LONGEST + 1);
    assert_eq!(how("(?P<a>.*)", &long), Some(Fit::Unknown));
    assert_eq!(how("(?P<a>.*)", &long[1..]), Some(Fit::Fits));
}

#[test]
fn a_message_that_takes_too_much_effort_is_read_all_the_same() {
    let forms = Forms::of(Daemon::Sshd);
    for plant in [" from ", " for x from 192.0.2.9", ": Authentication tried for ", " to "] {
        for head in ["Failed x for ", "/", "userauth_hostbased mismatch: client sends ", "Address "]
        {
            let message = format!("{head}{}", plant.repeat(20_000 / plant.len()));
            assert!(forms.directly(&message, 7).is_err());
            assert_eq!(forms.read(&message, 7), forms.one_by_one(&message, 7), "{head}{plant}");
        }
    }
}
