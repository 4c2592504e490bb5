//! Markdown to a manual page in man(7).
//!
//! Input: the part of Markdown that the pages use: titles, paragraphs, lists, fenced code,
//! `code`, **strong**. A title of the fourth level is the term of a list of definitions.
//! Output: roff that is plain ASCII. Invariant: no text of a page is taken for a request,
//! and what is not known is an error, not lost.

use anyhow::{Result, bail, ensure};

/// Bytes of a line of text.
const LONGEST: usize = 76;

/// What the text that follows belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Section,
    /// A title has just been written, which brings its own space.
    Title,
    /// A term has just been written: its text follows on the next line.
    Term,
    /// The text of a term, indented.
    Definition,
}

/// A page `NAME.SECTION` from its Markdown.
pub(crate) fn page(file: &str, date: &str, markdown: &str) -> Result<String> {
    let Some((name, section)) = file.rsplit_once('.') else { bail!("{file}: no section") };
    let mut out = format!(
        ".TH {} {section} {date} \"guard {}\" \"guard\"\n",
        escaped(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION")
    );
    let mut within = Within::Section;
    for block in blocks(markdown) {
        match block {
            Block::Title(1, _) => {}
            Block::Title(2, text) => {
                out.push_str(&format!(".SH {}\n", inline(&text.to_uppercase())?));
                within = Within::Title;
            }
            Block::Title(3, text) => {
                out.push_str(&format!(".SS {}\n", inline(&text)?));
                within = Within::Title;
            }
            Block::Title(_, text) => {
                out.push_str(&format!(".TP\n{}\n", inline(&text)?));
                within = Within::Term;
            }
            Block::Paragraph(text) => {
                let (before, after) = match within {
                    Within::Section => (".PP\n", Within::Section),
                    Within::Title => ("", Within::Section),
                    Within::Term => ("", Within::Definition),
                    Within::Definition => (".IP\n", Within::Definition),
                };
                out.push_str(&format!("{before}{}\n", sentences(&inline(&text)?)));
                within = after;
            }
            Block::End => within = Within::Section,
            Block::Item(text) => {
                out.push_str(&format!(".IP \\(bu 2\n{}\n", sentences(&inline(&text)?)));
                within = Within::Section;
            }
            Block::Code(lines) => {
                ensure!(within != Within::Term, "{file}: a term without a text");
                let nested = within == Within::Definition;
                if !nested && within != Within::Title {
                    out.push_str(".PP\n");
                }
                out.push_str(if nested { ".IP\n.nf\n" } else { ".nf\n.RS 4\n" });
                for line in lines {
                    out.push_str(&format!("{}\n", guarded(&escaped(&line))));
                }
                out.push_str(if nested { ".fi\n" } else { ".RE\n.fi\n" });
                within = if nested { Within::Definition } else { Within::Section };
            }
        }
    }
    Ok(out)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    Title(usize, String),
    Paragraph(String),
    Item(String),
    Code(Vec<String>),
    /// A comment: what follows belongs to the section again.
    End,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut code: Option<Vec<String>> = None;
    let mut open = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            match code.take() {
                Some(lines) => blocks.push(Block::Code(lines)),
                None => code = Some(Vec::new()),
            }
            open = false;
        } else if let Some(lines) = &mut code {
            lines.push(line.to_owned());
        } else if line.trim().is_empty() {
            open = false;
        } else if line.starts_with("<!--") {
            blocks.push(Block::End);
            open = false;
        } else if let Some((marks, title)) =
            line.split_once("# ").filter(|(marks, _)| marks.bytes().all(|byte| byte == b'#'))
        {
            blocks.push(Block::Title(marks.len() + 1, title.to_owned()));
            open = false;
        } else if let Some(item) = line.strip_prefix("- ") {
            blocks.push(Block::Item(item.to_owned()));
            open = true;
        } else if let (true, Some(Block::Paragraph(text) | Block::Item(text))) =
            (open, blocks.last_mut())
        {
            text.push(' ');
            text.push_str(line.trim());
        } else {
            blocks.push(Block::Paragraph(line.trim().to_owned()));
            open = true;
        }
    }
    blocks
}

/// A text with its marks: code and strong words are bold.
fn inline(text: &str) -> Result<String> {
    let mut out = String::new();
    let (mut code, mut strong) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        if c == '`' {
            code = !code;
            out.push_str(if code { "\\fB" } else { "\\fR" });
        } else if !code && rest.starts_with("**") {
            strong = !strong;
            out.push_str(if strong { "\\fB" } else { "\\fR" });
            taken = 2;
        } else if !code && c == '\\' && rest.len() > 1 {
            let next = rest[1..].chars().next().unwrap_or(c);
            out.push_str(&escaped(&next.to_string()));
            taken = 1 + next.len_utf8();
        } else {
            out.push_str(&escaped(&rest[..taken]));
        }
        rest = &rest[taken..];
    }
    ensure!(!code && !strong, "a mark that is not closed: {text}");
    Ok(out)
}

/// Lines that are not long, each sentence beginning a new one, and none of them a request.
fn sentences(text: &str) -> String {
    let mut lines = vec![String::new()];
    let mut ended = false;
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && (ended || last + 1 + word.len() > LONGEST) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        ended = word.ends_with(['.', ':']);
    }
    let lines: Vec<String> = lines.iter().map(|line| guarded(line)).collect();
    lines.join("\n")
}

/// A line that begins like a request is text.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Characters that roff would take for something else.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '"' => out.push_str("\\(dq"),
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_block() {
        let markdown = "# x(1)\n\n## Name\n\nx - does -y\n\n## Two words\n\nA. B\nmore.\n\n\
                        #### `k`\n\nIts meaning.\n\n```sh\n.a 'b'\n```\n\nAfter.\n\n<!-- -->\n\nLast.\n\n- One\n  and `two`\n";
        let page = page("x.1", "2026-01-02", markdown).expect("a page");
        let (head, body) = page.split_once('\n').expect("a head");
        assert!(head.starts_with(".TH X 1 2026-01-02 \"guard "), "{head}");
        let expected = ".SH NAME\nx \\- does \\-y\n.SH TWO WORDS\nA.\nB more.\n.TP\n\\fBk\\fR\n\
                        Its meaning.\n.IP\n.nf\n\\&.a \\(aqb\\(aq\n.fi\n.IP\nAfter.\n.PP\nLast.\n.IP \\(bu 2\n\
                        One and \\fBtwo\\fR\n";
        assert_eq!(body, expected);
    }

    #[test]
    fn text_is_never_a_request() {
        assert_eq!(
            sentences(&inline(".so /etc/passwd. 'x").expect("text")),
            "\\&.so /etc/passwd.\n\\(aqx"
        );
        assert_eq!(escaped("a\\fBé^"), "a\\efB\\[u00E9]\\(ha");
        assert!(inline("a `b").is_err());
    }
}
