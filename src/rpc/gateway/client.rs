//! Where a request really comes from, by as much of `x-forwarded-for` as proxies of ours wrote.
//!
//! Each proxy adds the address that it was called from at the end, and what came before is whatever the client sent:
//!
//! ```text
//!   x-forwarded-for:  forged, forged, client, proxy 2, proxy 1        gateway's own peer: proxy 1
//!   trusted hops:                     2       1        0
//! ```
//!
//! So it is counted from the end, as many as there are proxies of ours, and nothing before is looked at.

use std::net::{IpAddr, SocketAddr};

use super::attempt::Headers;
use crate::domain::cidr::parse_client_ip;

/// The entry that many places before the last one; `None` if there is none, or it is no address.
pub(super) fn forwarded(headers: &Headers<'_>, hops: usize) -> Option<IpAddr> {
    let values = headers.values("x-forwarded-for").rev();
    let mut entries = values.flat_map(|value| value.rsplit(|byte| *byte == b','));
    address(std::str::from_utf8(entries.nth(hops)?).ok()?.trim_matches([' ', '\t']))
}

/// The client of a gateway that also says who its own peer is, and puts it at the end of `x-forwarded-for`. If it does
/// not, what stands there may be the client's own, and nothing is known.
pub(super) fn behind_peer(
    headers: &Headers<'_>,
    peer: Option<IpAddr>,
    hops: usize,
) -> Option<IpAddr> {
    match hops {
        0 => peer,
        hops if peer.is_some() && forwarded(headers, 0) == peer => forwarded(headers, hops),
        _ => None,
    }
}

/// An address, with a port after it as some proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip().to_canonical());
    parse_client_ip(text).ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn headers<'a>(values: &[&'a str]) -> Headers<'a> {
        values.iter().map(|value| ("X-Forwarded-For", value.as_bytes())).collect()
    }

    #[test]
    fn hops_are_counted_from_the_end() {
        let chain = headers(&["6.6.6.6, 192.0.2.1", "10.0.0.2,10.0.0.1"]);
        for (hops, client) in [
            (0, ip("10.0.0.1")),
            (1, ip("10.0.0.2")),
            (2, ip("192.0.2.1")),
            (3, ip("6.6.6.6")),
            (4, None),
        ] {
            assert_eq!(forwarded(&chain, hops), client, "{hops}");
        }
        assert_eq!(forwarded(&headers(&[]), 0), None);
    }

    #[test]
    fn addresses_come_with_ports_and_nonsense_is_none() {
        for (text, client) in [
            ("192.0.2.1:443", ip("192.0.2.1")),
            ("[2001:db8::1]:443", ip("2001:db8::1")),
            ("::ffff:192.0.2.1", ip("192.0.2.1")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
        ] {
            assert_eq!(forwarded(&headers(&[text]), 0), client, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_stands_before_the_trusted_hops_changes_nothing(forged in "[0-9a-f:., ]{0,40}", hops in 0_usize..3) {
            let ours = ["192.0.2.1", "10.0.0.2", "10.0.0.1"];
            let chain = format!("{forged},{}", ours.join(","));
            prop_assert_eq!(forwarded(&headers(&[&chain]), hops), ip(ours[2 - hops]));
            prop_assert_eq!(forwarded(&headers(&[&forged, &ours.join(", ")]), hops), ip(ours[2 - hops]));
        }
    }

    #[test]
    fn without_trusted_hops_only_the_peer_counts() {
        let forged = headers(&["203.0.113.7"]);
        assert_eq!(behind_peer(&forged, ip("192.0.2.9"), 0), ip("192.0.2.9"));
        assert_eq!(behind_peer(&forged, None, 0), None);
    }

    #[test]
    fn a_chain_that_does_not_end_with_the_peer_is_not_believed() {
        let peer = ip("10.0.0.1");
        assert_eq!(
            behind_peer(&headers(&["6.6.6.6, 192.0.2.1, 10.0.0.1"]), peer, 1),
            ip("192.0.2.1")
        );
        assert_eq!(behind_peer(&headers(&["192.0.2.1, 10.0.0.1"]), peer, 2), None);
        assert_eq!(behind_peer(&headers(&["203.0.113.7, 203.0.113.7"]), peer, 1), None);
        assert_eq!(behind_peer(&headers(&[]), None, 1), None);
    }
}
