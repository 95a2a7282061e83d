//! Networks that a key may be used from, and the client addresses that are held against them.
//!
//! An IPv4-mapped IPv6 address (`::ffff:10.1.2.3`, RFC 4291 section 2.5.5.2) is the IPv4 address in it,
//! in networks and in clients alike. So `0.0.0.0/0` holds every IPv4 address however it is written, and
//! `::/0` every other IPv6 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bits of the prefix `::ffff:0:0/96`, under which the mapped IPv4 addresses lie.
const MAPPED_BITS: u8 = 96;

/// Why a network, or a list of them, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    /// No address before the `/`.
    #[error("must be an IPv4 or IPv6 network such as 10.0.0.0/8 or 2001:db8::/32, or one address")]
    Syntax,
    /// No prefix length that fits the address.
    #[error("prefix length must be a number from 0 to {max}")]
    Prefix {
        /// The longest prefix: 32 for IPv4, 128 for IPv6.
        max: u8,
    },
    /// The address has bits set that the prefix does not reach.
    #[error("{address}/{} has host bits set; did you mean {network}", network.0.prefix_len())]
    HostBits {
        /// The address before the `/`; a mapped one as IPv4.
        address: IpAddr,
        /// The network of that prefix length that it lies in.
        network: Cidr,
    },
    /// A mapped IPv4 address with a prefix that ends before it, as in `::ffff:10.0.0.0/8`.
    #[error(
        "prefix length of an IPv4-mapped network must be from 96 to 128; write {0} with an IPv4 prefix length"
    )]
    MappedPrefix(
        /// The address as IPv4.
        Ipv4Addr,
    ),
    /// More than [`CidrSet::MAX_LEN`].
    #[error("at most {} networks are allowed", CidrSet::MAX_LEN)]
    TooMany,
}

/// The text is no client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an IPv4 or IPv6 address, without port, brackets or zone")]
pub struct InvalidClientIp;

/// One network. It prints with its prefix length, a single address as `/32` or `/128`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

/// The networks of a key: sorted, each once. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct CidrSet(Arc<[Cidr]>);

impl Cidr {
    /// Reads `address/prefix`, or a bare address as a network of one.
    pub fn parse(text: &str) -> Result<Self, InvalidCidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| InvalidCidr::Syntax)?;
        let max = if written.is_ipv4() { 32 } else { 128 };
        let bits = match prefix {
            None => max,
            Some(prefix) => parse_prefix(prefix, max).ok_or(InvalidCidr::Prefix { max })?,
        };
        let (address, bits) = match written.to_canonical() {
            IpAddr::V4(v4) if written.is_ipv6() => match bits.checked_sub(MAPPED_BITS) {
                Some(bits) => (v4.into(), bits),
                None => return Err(InvalidCidr::MappedPrefix(v4)),
            },
            _ => (written, bits),
        };
        let net = IpNet::new(address, bits).map_err(|_| InvalidCidr::Prefix { max })?;
        let network = Self(net.trunc());
        if net == network.0 { Ok(network) } else { Err(InvalidCidr::HostBits { address, network }) }
    }

    /// Whether the address, mapped or not, lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl CidrSet {
    /// The most networks that a key can have.
    pub const MAX_LEN: usize = 100;

    /// Reads a list of networks in any order, repetitions included. On failure: every bad entry with
    /// its index. The limit counts the list as it was given; the first entry beyond it ends the reading.
    pub fn parse<'a>(
        cidrs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<(usize, InvalidCidr)>> {
        let (mut parsed, mut bad) = (Vec::new(), Vec::new());
        for (index, text) in cidrs.into_iter().enumerate() {
            if index >= Self::MAX_LEN {
                bad.push((index, InvalidCidr::TooMany));
                break;
            }
            match Cidr::parse(text) {
                Ok(cidr) => parsed.push(cidr),
                Err(why) => bad.push((index, why)),
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        parsed.sort_unstable();
        parsed.dedup();
        Ok(Self(parsed.into()))
    }

    /// Whether the address, mapped or not, lies in one of the networks. The empty set holds none; that
    /// a key without networks may be used from anywhere is for the caller to say.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|cidr| cidr.contains(address))
    }

    /// All networks, sorted, IPv4 first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Cidr> {
        self.0.iter()
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no network at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the address of a client; a mapped one comes back as IPv4.
pub fn parse_client_ip(text: &str) -> Result<IpAddr, InvalidClientIp> {
    text.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| InvalidClientIp)
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        Self::parse(text)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CidrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As the list of its networks in text.
impl Serialize for CidrSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(ToString::to_string))
    }
}

/// Checked as by [`CidrSet::parse`].
impl<'de> Deserialize<'de> for CidrSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        Self::parse(list.iter().map(String::as_str)).map_err(|bad| {
            let reasons: Vec<_> =
                bad.iter().map(|(at, why)| format!("network {at}: {why}")).collect();
            D::Error::custom(reasons.join("; "))
        })
    }
}

/// A decimal number up to `max` without sign or leading zeros.
fn parse_prefix(text: &str, max: u8) -> Option<u8> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|&bits| plain && bits <= max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn printed(text: &str) -> Result<String, String> {
        Cidr::parse(text).map(|cidr| cidr.to_string()).map_err(|why| why.to_string())
    }

    fn set(list: &[&str]) -> CidrSet {
        CidrSet::parse(list.iter().copied()).expect("valid")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_and_single_addresses_are_read() {
        for (text, canonical) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ] {
            assert_eq!(printed(text).as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn host_bits_are_refused_with_the_network_that_was_meant() {
        let error = |text| printed(text).expect_err("host bits");
        assert_eq!(error("10.0.0.1/8"), "10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8");
        assert_eq!(
            error("2001:db8::1/32"),
            "2001:db8::1/32 has host bits set; did you mean 2001:db8::/32"
        );
        assert_eq!(
            error("::ffff:10.0.0.1/104"),
            "10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8"
        );
        assert_eq!(
            error("::ffff:10.0.0.0/8"),
            "prefix length of an IPv4-mapped network must be from 96 to 128; write 10.0.0.0 with an IPv4 prefix length"
        );
        assert!(Cidr::parse("::ffff:0:0/95").is_err() && Cidr::parse("::fffe:0:0/95").is_ok());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "/",
            "/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "[::1]/128",
            "fe80::1%eth0",
            "10.0.0.0 /8",
            "x",
            "10.0.0.0:80",
        ] {
            assert_eq!(Cidr::parse(bad), Err(InvalidCidr::Syntax), "{bad:?}");
        }
        for bad in [
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/256",
        ] {
            assert_eq!(Cidr::parse(bad), Err(InvalidCidr::Prefix { max: 32 }), "{bad:?}");
        }
        assert_eq!(Cidr::parse("::/129"), Err(InvalidCidr::Prefix { max: 128 }));
    }

    #[test]
    fn mapped_clients_are_ipv4_clients() {
        let v4 = set(&["10.0.0.0/8"]);
        assert!(v4.contains(ip("10.1.2.3")) && v4.contains(ip("::ffff:10.1.2.3")));
        assert!(!v4.contains(ip("11.0.0.0")) && !v4.contains(ip("::10.1.2.3")));
        let v6 = set(&["::/0"]);
        assert!(v6.contains(ip("2001:db8::1")));
        assert!(!v6.contains(ip("10.1.2.3")) && !v6.contains(ip("::ffff:10.1.2.3")));
    }

    #[test]
    fn the_empty_set_holds_no_address() {
        assert!(CidrSet::default().is_empty() && !CidrSet::default().contains(ip("::1")));
    }

    #[test]
    fn a_list_is_sorted_without_repetitions_and_names_every_bad_entry() {
        let sorted = set(&["::1", "10.0.0.0/8", "::ffff:10.0.0.0/104", "9.0.0.0/8"]);
        assert_eq!(format!("{sorted:?}"), "{9.0.0.0/8, 10.0.0.0/8, ::1/128}");
        let bad = CidrSet::parse(["x", "::1", "10.0.0.0/99"]).expect_err("two bad entries");
        assert_eq!(bad, [(0, InvalidCidr::Syntax), (2, InvalidCidr::Prefix { max: 32 })]);
        let many = vec!["::1"; 101];
        assert_eq!(CidrSet::parse(many), Err(vec![(100, InvalidCidr::TooMany)]));
    }

    #[test]
    fn json_is_a_list_that_is_checked_on_the_way_in() {
        let json = serde_json::to_string(&set(&["::1", "10.0.0.0/8"])).expect("text");
        assert_eq!(json, r#"["10.0.0.0/8","::1/128"]"#);
        assert_eq!(
            serde_json::from_str::<CidrSet>(&json).expect("valid"),
            set(&["10.0.0.0/8", "::1"])
        );
        let error = serde_json::from_str::<CidrSet>(r#"["::1","x"]"#).expect_err("a bad entry");
        assert!(error.to_string().starts_with("network 1: must be"), "{error}");
    }

    #[test]
    fn client_addresses_are_bare() {
        assert_eq!(parse_client_ip("::ffff:192.0.2.1"), Ok(ip("192.0.2.1")));
        for bad in [
            "",
            "192.0.2.1:80",
            "[::1]",
            "[::1]:80",
            "fe80::1%eth0",
            "localhost",
            " ::1",
            "192.0.2.01",
            "1",
        ] {
            assert_eq!(parse_client_ip(bad), Err(InvalidClientIp), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_bit_arithmetic(network: u128, address: u128, bits in 0_u32..=128, near: bool) {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            let address = if near { (network & mask) | (address & !mask) } else { address };
            let (network, address) = (Ipv6Addr::from(network & mask), Ipv6Addr::from(address));
            prop_assume!(network.to_ipv4_mapped().is_none() && address.to_ipv4_mapped().is_none());
            let cidr = Cidr::parse(&format!("{network}/{bits}")).expect("valid");
            prop_assert_eq!(cidr.contains(address.into()), u128::from(address) & mask == u128::from(network));
            prop_assert_eq!(Cidr::parse(&cidr.to_string()), Ok(cidr));
        }

        #[test]
        fn ipv4_agrees_in_both_spellings(network: u32, address: u32, bits in 0_u32..=32) {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let (network, address) = (Ipv4Addr::from(network & mask), Ipv4Addr::from(address));
            let plain = Cidr::parse(&format!("{network}/{bits}")).expect("valid");
            let mapped = Cidr::parse(&format!("::ffff:{network}/{}", bits + 96)).expect("valid");
            prop_assert_eq!(plain, mapped);
            let inside = u32::from(address) & mask == u32::from(network);
            prop_assert_eq!(plain.contains(address.into()), inside);
            prop_assert_eq!(plain.contains(address.to_ipv6_mapped().into()), inside);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".*", near in "[0-9a-f:./%]{0,30}") {
            let _ = (Cidr::parse(&text), Cidr::parse(&near), parse_client_ip(&near));
        }
    }
}
