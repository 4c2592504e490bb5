//! Values into pickles of protocol 4, which Python reads since 3.4.

use crate::compat::value::{Fault, Value};

/// The pickle of a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    put(value, &mut out);
    out.push(b'.');
    out
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nothing => out.push(b'N'),
        Value::Boolean(true) => out.push(0x88),
        Value::Boolean(false) => out.push(0x89),
        Value::Number(number) => put_number(*number, out),
        Value::Fraction(number) => {
            out.push(b'G');
            out.extend(number.to_be_bytes());
        }
        Value::Text(text) => put_text(text, out),
        Value::List(items) => {
            out.push(b']');
            put_all(items, b'e', out);
        }
        Value::Tuple(items) => match items.as_slice() {
            [] => out.push(b')'),
            [..] if items.len() <= 3 => {
                items.iter().for_each(|item| put(item, out));
                out.push([0x85, 0x86, 0x87][items.len() - 1]);
            }
            _ => put_all(items, b't', out),
        },
        Value::Dictionary(pairs) => {
            out.push(b'}');
            if !pairs.is_empty() {
                out.push(b'(');
                for (key, value) in pairs {
                    put(key, out);
                    put(value, out);
                }
                out.push(b'u');
            }
        }
        Value::Fault(Fault { class, argument }) => {
            let (module, name) = class.name();
            put_text(module, out);
            put_text(name, out);
            // The class, its arguments, and the call.
            out.push(0x93);
            put_text(argument, out);
            out.extend([0x85, b'R']);
        }
    }
}

/// A mark, the items, and what takes them; nothing for no items of a list.
fn put_all(items: &[Value], take: u8, out: &mut Vec<u8>) {
    if items.is_empty() {
        return;
    }
    out.push(b'(');
    items.iter().for_each(|item| put(item, out));
    out.push(take);
}

fn put_number(number: i64, out: &mut Vec<u8>) {
    if let Ok(small) = u8::try_from(number) {
        out.extend([b'K', small]);
    } else if let Ok(small) = i32::try_from(number) {
        out.push(b'J');
        out.extend(small.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(number.to_le_bytes());
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let length = text.len();
    if let Ok(short) = u8::try_from(length) {
        out.extend([0x8c, short]);
    } else if let Ok(length) = u32::try_from(length) {
        out.push(b'X');
        out.extend(length.to_le_bytes());
    } else {
        out.push(0x8d);
        out.extend((length as u64).to_le_bytes());
    }
    out.extend(text.as_bytes());
}
