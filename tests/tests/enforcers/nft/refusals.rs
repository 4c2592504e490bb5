//! What cannot be done is refused in words that say what and what to do.

use guard::core::delta::Delta;
use guard::enforce::nft::Nft;
use guard::enforce::{EnforceError, Enforcer};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::conformance::{ban, snapshot};
use crate::nft::{listing, nft_script};
use crate::world::{Namespace, now};

#[test]
fn without_the_capability_it_is_unavailable() {
    let told = Namespace::new("unprivileged").run(|| {
        let mut sets = capabilities(None).expect("our capabilities");
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).expect("drop the capability of this thread");
        match Nft::open() {
            Err(EnforceError::Unavailable(told)) => told,
            other => panic!("{other:?}"),
        }
    });
    assert!(told.contains("CAP_NET_ADMIN"), "{told}");
}

#[test]
fn a_batch_that_fails_changes_nothing() {
    Namespace::new("whole").run(|| {
        let mut enforcer = Nft::open().expect("open");
        let jails = [("sshd", 22), ("web", 443)];
        enforcer.replace(&snapshot(&jails, &[ban(1, "2001:db8::1")]), now()).expect("replace");
        // Somebody takes one of two sets away.
        nft_script(
            "flush chain inet f2b-table f2b-chain
             delete set inet f2b-table addr6-set-web",
        );
        let before = listing();
        let batch = [Delta::Ban(ban(0, "192.0.2.1")), Delta::Ban(ban(1, "2001:db8::2"))];
        let error = enforcer.apply(&batch, now()).expect_err("no set");
        let told = error.to_string();
        assert!(matches!(error, EnforceError::Kernel { .. }), "{told}");
        assert!(told.contains("add 2001:db8::2 to set addr6-set-web"), "{told}");
        assert!(told.contains("No such file or directory"), "{told}");
        assert_eq!(listing(), before);
    });
}

#[test]
fn a_jail_that_is_not_in_the_snapshot_is_refused() {
    Namespace::new("unknown").run(|| {
        let mut enforcer = Nft::open().expect("open");
        let error = enforcer.apply(&[Delta::Ban(ban(0, "192.0.2.1"))], now()).expect_err("no jail");
        assert!(error.to_string().contains("jail number 0"), "{error}");
        let unknown = snapshot(&[("sshd", 22)], &[ban(1, "192.0.2.1")]);
        let error = enforcer.replace(&unknown, now()).expect_err("no jail");
        assert!(error.to_string().contains("jail number 1"), "{error}");
    });
}
