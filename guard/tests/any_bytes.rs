//! Any bytes in any configuration file: they are read, or what is wrong is told where it
//! stands; nothing panics and nothing hangs.

mod host;

use proptest::prelude::*;

use guard::config::described::describe;
use guard::config::{Settings, jails};

use host::{FILTER, Host};

/// Every kind of file that is read, with text in which most of the language occurs.
const FILES: [(&str, &str); 6] = [
    (
        "jail.conf",
        "[INCLUDES]\nbefore = paths.conf\n[DEFAULT]\nfilter = %(__name__)s[mode=%(mode)s]\nmode = m\n\
         enabled = true\nport = ssh,8000:8010\nprotocol = tcp\naction = nftables[port=\"%(port)s\"]\n",
    ),
    (
        "paths.conf",
        "[DEFAULT]\nlog_of_x = /none/*.log tail\nback = %(default/backend)s\nbackend = auto\n",
    ),
    (
        "jail.d/x.conf",
        "[x]\nlogpath = %(log_of_x)s\nbackend = %(back)s\nbantime.increment = yes\n\
         bantime.multipliers = 1 2\nignoreip = 192.0.2.1 a.example file:/x\n\
         ignorecommand = /x '<ip>' \"a b\"\nignorecache = key=\"<ip>\", max-time=1m\n",
    ),
    ("jail.local", "[x]\nfailregex = %(known/failregex)s\n  ^own <HOST>$\nbantime = 1h 30m\n"),
    (
        "filter.d/x.conf",
        "[INCLUDES]\nafter = common.conf\n[Definition]\nprefregex = ^p <F-CONTENT>.*</F-CONTENT>$\n\
         failregex = ^<re-<mode>> %(_name)s <HOST>$\nre-m = m<num>\njournalmatch = A=<num> + B='c d'\n\
         maxlines = 2\n[Init]\nnum = 1\n[Init?family=inet6]\nother = 2\n",
    ),
    ("filter.d/common.conf", "[DEFAULT]\n_name = n%%<num>\n[sec]\nkey = %(_name)s\n"),
];

/// A change of one file: what lies there is cut out, and these bytes are put in.
type Change = (usize, usize, usize, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let words = prop::sample::select(vec![
        "%(",
        ")s",
        "<",
        ">",
        "[",
        "]",
        "=",
        "\n",
        "\n ",
        ";",
        " #",
        "'",
        "\"",
        "\\",
        "%(x)s",
        "<x>",
        "<mode>",
        "%(known/failregex)s",
        "[DEFAULT]\n",
        "[x]\n",
        "before = x.conf\n",
        "-1",
        "*",
        "\0",
    ]);
    let bytes = prop_oneof![
        words.prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec((0..FILES.len(), 0_usize..600, 0_usize..20, bytes), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn are_read_or_complained_about(
        changes in changes(),
        noise in prop::collection::vec((0..FILES.len(), prop::collection::vec(any::<u8>(), 0..60)), 0..2),
    ) {
        let mut texts = FILES.map(|(_, text)| text.as_bytes().to_vec());
        for (file, at, length, bytes) in changes {
            let text = &mut texts[file];
            let start = at.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, bytes);
        }
        for (file, bytes) in noise {
            texts[file] = bytes;
        }
        let host = Host::new(&[FILTER]);
        for ((name, _), text) in FILES.iter().zip(&texts) {
            host.write(name, "");
            std::fs::write(host.path(name), text).expect("written");
        }
        let settings = Settings {
            jail_directory: host.path(""),
            vendor_directory: host.path("vendor:"),
            ..Settings::default()
        };
        let loaded = jails(&settings);
        prop_assert!(!loaded.jails.is_empty() || !loaded.diagnostics.0.is_empty());
        for diagnostic in &loaded.diagnostics.0 {
            prop_assert!(diagnostic.help.is_some() || diagnostic.place.is_some());
            let _ = (diagnostic.render(true), diagnostic.line());
        }
        let _ = describe(&settings, false);
    }
}

#[test]
fn the_text_without_a_change_starts_the_jail() {
    let host = Host::new(&FILES);
    let loaded = host.load();
    assert_eq!(host::names(&loaded), ["x"], "{}", loaded.diagnostics);
    assert!(host.told().iter().all(|told| told.starts_with("warning ")), "{:?}", host.told());
}
