//! What others change is noticed, and what they change elsewhere is not.

use guard::core::delta::Delta;
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;

use crate::conformance::{ban, bans, held, snapshot};
use crate::nft::nft_script;
use crate::world::{Namespace, now};

#[test]
fn changes_by_others_are_noticed_and_told_with_their_name() {
    Namespace::new("watch").run(|| {
        let mut enforcer = Nft::open().expect("open");
        let desired = snapshot(&[("sshd", 22)], &[ban(0, "192.0.2.1"), ban(0, "198.51.100.0/24")]);
        enforcer.replace(&desired, now()).expect("replace");
        assert!(enforcer.replaced() > 0);
        let broken = |enforcer: &mut Nft| enforcer.inspect().expect("inspect").broken;
        assert_eq!(broken(&mut enforcer), None, "our own change");
        enforcer.apply(&[Delta::Ban(ban(0, "192.0.2.2"))], now()).expect("ban");
        assert_eq!(broken(&mut enforcer), None, "our own change");
        nft_script("add table inet other");
        assert_eq!(broken(&mut enforcer), None, "somebody else's table");
        for script in [
            "delete element inet f2b-table addr-set-sshd { 192.0.2.1 }",
            "add element inet f2b-table net-set-sshd { 203.0.113.0/24 }",
            "add element inet f2b-table net-set-sshd { 10.0.0.1-10.0.0.7 }",
            "add chain inet f2b-table more",
            "flush chain inet f2b-table f2b-chain",
            "delete table inet f2b-table",
        ] {
            nft_script(script);
            let told = broken(&mut enforcer).expect(script);
            assert!(told.starts_with("nft (process ") && told.contains("f2b-table"), "{told}");
            let desired = snapshot(&[("sshd", 22)], &desired.bans);
            enforcer.replace(&desired, now()).expect("put right");
            assert_eq!(broken(&mut enforcer), None, "put right after: {script}");
            let all = [("sshd", "192.0.2.1"), ("sshd", "198.51.100.0/24")];
            assert_eq!(held(&mut enforcer), bans(&all), "after: {script}");
        }
        enforcer.replace(&desired, now()).expect("replace by the same");
        assert_eq!(enforcer.replaced(), 0);
    });
}

/// What was read is kept for as long as nobody changed anything; what is told is what the
/// kernel holds all the same.
#[test]
fn what_is_held_is_never_out_of_date() {
    Namespace::new("fresh").run(|| {
        let mut enforcer = Nft::open().expect("open");
        enforcer
            .replace(&snapshot(&[("sshd", 22)], &[ban(0, "192.0.2.1")]), now())
            .expect("replace");
        assert_eq!(held(&mut enforcer), bans(&[("sshd", "192.0.2.1")]));
        enforcer.apply(&[Delta::Ban(ban(0, "192.0.2.2"))], now()).expect("ban");
        nft_script("delete element inet f2b-table addr-set-sshd { 192.0.2.1 }");
        assert_eq!(held(&mut enforcer), bans(&[("sshd", "192.0.2.2")]));
        nft_script("add element inet f2b-table addr-set-sshd { 192.0.2.9 }");
        enforcer.apply(&[Delta::Ban(ban(0, "192.0.2.3"))], now()).expect("ban");
        let all = [("sshd", "192.0.2.2"), ("sshd", "192.0.2.3"), ("sshd", "192.0.2.9")];
        assert_eq!(held(&mut enforcer), bans(&all));
    });
}
