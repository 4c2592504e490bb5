//! Fail2Ban's own `recidive` filter reads guard's bans.

use guard::config::{self, agent::Settings};
use guard::core::addr::Prefix;
use guard::core::jail::{Jail, LogSource};
use guard_tests::fail2ban::Package;

use super::bed;
use super::timeline::JailPolicy;

#[test]
fn the_stock_filter_matches_the_bans_of_other_jails() {
    let package = Package::fetch().expect("Debian's fail2ban");
    let directory = tempfile::tempdir().expect("a directory");
    let stock = package.configuration().join("filter.d");
    std::os::unix::fs::symlink(stock, directory.path().join("filter.d")).expect("read in place");
    // Read as a jail of the journal, so that this does not rest on what becomes of its log.
    let text = "[recidive]\nenabled = true\nfilter = recidive\nbackend = systemd\n\
                maxretry = 2\nfindtime = 1d\nbantime = 1w\nport = 0:65535\n";
    std::fs::write(directory.path().join("jail.local"), text).expect("written");
    let settings = Settings { jail_directory: directory.path().to_owned(), ..Settings::default() };
    let loaded = config::jails(&settings);
    let mut stock = loaded.jails.into_iter().filter(|jail| jail.name.as_str() == "recidive");
    let stock = stock.next().unwrap_or_else(|| panic!("left out: {}", loaded.diagnostics));
    let recidive = Jail { source: LogSource::OwnBans, ..stock };

    let plain = |name| bed::jail(&JailPolicy::new(name));
    let mut engine = bed::engine(vec![plain("sshd"), plain("web"), recidive], 86_400, 0);
    let address = |text: &str| text.parse::<Prefix>().expect("an address");
    for source in ["10.3.0.1", "2001:db8::1"].map(address) {
        for (jail, banned) in [(0, false), (1, true)] {
            engine
                .handle(guard::core::time::Timestamp::from_seconds(5), bed::by_hand(jail, source));
            // It counts and bans IPv6 with its network.
            let network = source.counted_with(Jail::IPV6_PREFIX);
            let found = engine.bans().any(|ban| ban.jail.0 == 2 && ban.source == network);
            assert_eq!(found, banned, "{source} in jail {jail}");
        }
    }
    // What recidive itself banned is not read by it.
    let source = address("10.3.0.2");
    engine.handle(guard::core::time::Timestamp::from_seconds(5), bed::by_hand(0, source));
    let by_hand =
        engine.handle(guard::core::time::Timestamp::from_seconds(5), bed::by_hand(2, source));
    assert_eq!(by_hand.enforce.len(), 1);
    assert_eq!(by_hand.report.len(), 1, "no more than the ban: {:?}", by_hand.report);
}
