//! Any line as a request at the control socket, and as the agent's answer.

#![no_main]

use guard::control::protocol::{Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(line) {
        let text = serde_json::to_string(&request).expect("a request is written");
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).expect("and read again"), request);
    }
    if let Ok(response) = serde_json::from_slice::<Response>(line) {
        let text = serde_json::to_string(&response).expect("an answer is written");
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Response>(&text).expect("and read again"), response);
    }
});
