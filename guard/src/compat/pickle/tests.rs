use proptest::prelude::*;

use super::*;
use crate::compat::value::{Fault, FaultClass, Value};

fn read(bytes: &[u8]) -> Result<Value, PickleError> {
    decode(bytes, Bounds::default())
}

fn words(words: &[&str]) -> Value {
    Value::texts(words.iter().copied())
}

/// `["status", "sshd"]` by Python's pickle at each protocol, and by the encoder of Go's
/// `og-rek`, which exporters use.
#[test]
fn a_request_of_every_client_is_read() {
    for bytes in [
        b"(lp0\nVstatus\np1\naVsshd\np2\na.".as_slice(),
        b"]q\x00(X\x06\x00\x00\x00statusq\x01X\x04\x00\x00\x00sshdq\x02e.",
        b"\x80\x02]q\x00(X\x06\x00\x00\x00statusq\x01X\x04\x00\x00\x00sshdq\x02e.",
        b"\x80\x04\x95\x16\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x06status\x94\x8c\x04sshd\x94e.",
        b"\x80\x05\x95\x16\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x06status\x94\x8c\x04sshd\x94e.",
        b"\x80\x02](U\x06statusU\x04sshde.",
        b"(S\"status\"\nS\"sshd\"\nl.",
    ] {
        assert_eq!(read(bytes), Ok(words(&["status", "sshd"])), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_would_build_an_object_is_refused() {
    for bytes in [
        // os.system("id"), three ways.
        b"cos\nsystem\n(S'id'\ntR.".as_slice(),
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"(ios\nsystem\n.",
        // An exception, as our own server sends it, is nothing to ask with.
        b"\x80\x04\x8c\x08builtins\x8c\x0aValueError\x93\x8c\x01x\x85R.",
        // Extension registry, persistent ids, new objects, states, buffers.
        b"\x82\x01.",
        b"Px\n.",
        b"NQ.",
        b"))\x81.",
        b"}}}\x92.",
        b"]]b.",
        b"\x97.",
        // Copies and removals of what is on the stack are in no request.
        b"]2.",
        b"]]0.",
    ] {
        let told = read(bytes).expect_err("refused").to_string();
        assert!(told.contains("builds more than"), "{}: {told}", bytes.escape_ascii());
    }
}

#[test]
fn a_list_that_is_used_twice_is_refused_and_a_text_is_not() {
    assert_eq!(read(b"]\x94(\x8c\x01a\x94h\x01h\x01e."), Ok(words(&["a", "a", "a"])));
    let told = read(b"](]\x94h\x00e.").expect_err("refused").to_string();
    assert!(told.contains("used twice"), "{told}");
}

#[test]
fn bounds_hold() {
    let nested = |depth: usize| {
        let mut bytes = b"]".repeat(depth + 1);
        bytes.extend(b"a".repeat(depth));
        bytes.push(b'.');
        bytes
    };
    assert!(read(&nested(16)).is_ok());
    assert!(read(&nested(17)).expect_err("too deep").to_string().contains("deeper"));
    let many = |count: usize| {
        let mut bytes = b"](".to_vec();
        bytes.extend(b"N".repeat(count));
        bytes.extend(b"e.");
        bytes
    };
    let bounds = Bounds { values: 100, depth: 2, text: 1000 };
    assert!(decode(&many(98), bounds).is_ok());
    assert!(decode(&many(99), bounds).is_err());
    // A length that is not there takes no memory.
    assert!(read(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.").is_err());
    assert!(read(b"X\xff\xff\xff\x7fabc.").is_err());
}

#[test]
fn errors_are_read_in_answers() {
    for class in FaultClass::ALL {
        let fault = Value::Fault(Fault { class, argument: "x".into() });
        let answer = Value::Tuple(vec![Value::Number(1), fault]);
        assert_eq!(decode_answer(&encode(&answer), Bounds::default()), Ok(answer.clone()));
        assert!(read(&encode(&answer)).is_err(), "no request holds an error");
    }
    // How Fail2Ban sends an address.
    let address = b"\x80\x04\x8c\x08builtins\x8c\x03str\x93\x8c\x08192.0.2.1\x85R.";
    assert!(decode_answer(address, Bounds::default()).is_err(), "nine bytes, not eight");
    let address = b"\x80\x04\x8c\x08builtins\x8c\x03str\x93\x8c\x09192.0.2.1\x85R.";
    assert_eq!(decode_answer(address, Bounds::default()), Ok(Value::text("192.0.2.1")));
    let other = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.";
    assert!(decode_answer(other, Bounds::default()).is_err());
}

/// Any value that a request can have.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nothing),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Number),
        any::<i32>().prop_map(|number| Value::Number(number.into())),
        (-1e9..1e9).prop_map(Value::Fraction),
        ".{0,20}".prop_map(Value::text),
        "[a-z]{250,260}".prop_map(Value::text),
    ];
    leaf.prop_recursive(4, 60, 5, |inner| {
        let many = || prop::collection::vec(inner.clone(), 0..6);
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            many().prop_map(Value::List),
            many().prop_map(Value::Tuple),
            pairs.prop_map(Value::Dictionary),
        ]
    })
}

/// Instructions that exist, in any order: more likely to get far than any bytes.
fn programs() -> impl Strategy<Value = Vec<u8>> {
    let parts: &[&[u8]] = &[
        b"(",
        b"]",
        b"}",
        b")",
        b"e",
        b"a",
        b"u",
        b"s",
        b"t",
        b"l",
        b"d",
        b"N",
        b"\x85",
        b"\x87",
        b"\x94",
        b"h\x00",
        b"h\x01",
        b"q\x02",
        b"K\x07",
        b"\x8c\x01x",
        b"X\x02\x00\x00\x00yz",
        b"\x8a\x02\xff\x7f",
        b"G\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x8f",
        b"\x90",
        b".",
        b"R",
        b"\x93",
    ];
    let part = prop::sample::select(parts.to_vec());
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

/// How many values there are in one, and how deep they are nested.
fn size(value: &Value) -> (usize, usize) {
    let sizes: Vec<_> = match value {
        Value::List(items) | Value::Tuple(items) => items.iter().map(size).collect(),
        Value::Dictionary(pairs) => {
            pairs.iter().flat_map(|(key, value)| [size(key), size(value)]).collect()
        }
        _ => Vec::new(),
    };
    let depth = sizes.iter().map(|(_, depth)| depth + 1).max().unwrap_or(0);
    (1 + sizes.iter().map(|(count, _)| count).sum::<usize>(), depth)
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in values()) {
        let bytes = encode(&value);
        prop_assert_eq!(read(&bytes), Ok(value));
        for end in 0..bytes.len() {
            prop_assert!(read(&bytes[..end]).is_err(), "half of it");
        }
    }

    #[test]
    fn any_bytes_and_any_program_end_within_the_bounds(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), programs()],
    ) {
        let bounds = Bounds { values: 40, depth: 3, text: 1000 };
        for read in [decode(&bytes, bounds), decode_answer(&bytes, bounds)].into_iter().flatten() {
            let (count, depth) = size(&read);
            prop_assert!(count <= bounds.values && depth <= usize::from(bounds.depth));
        }
    }
}

#[test]
fn a_long_text_that_is_said_again_and_again_is_refused() {
    // One text of 1,000 bytes, remembered, and a list of it so many times.
    let pickle = |times: usize| {
        let text = [b"X\xe8\x03\0\0".as_slice(), &[b'a'; 1000], b"q\0"].concat();
        [b"](".as_slice(), &text, &b"h\0".repeat(times), b"e."].concat()
    };
    let bounds = Bounds { text: 5_000, ..Bounds::default() };
    assert!(decode(&pickle(5), bounds).is_ok());
    assert!(decode(&pickle(6), bounds).is_err());
}
