//! Which proxies are trusted, the address of the client behind them, and which addresses count as
//! one client.
//!
//! Each proxy appends the address of its peer to `X-Forwarded-For`. So the header is read from
//! its end, and only as far as the proxies are trusted: what stands before was written by the
//! client itself, who may write anything. `Forwarded` is not read: a proxy that sets one of the
//! two headers passes on the other as the client has sent it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The option `trustProxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TrustedProxies {
    /// It was not given. No header is trusted, and the peer may be the client or a proxy.
    #[default]
    Unstated,
    /// There are none: the peer is the client.
    None,
    /// So many, one behind the other: `true` is one.
    Hops(NonZeroUsize),
    /// Those with these addresses. Other peers are clients.
    Networks(Vec<IpNet>),
}

/// How many proxies or networks may be given.
const MAX: usize = 100;

const FORMS: &str = "trustProxy is true (one proxy), false (clients connect directly), the number of proxies (1 to 100), \
                     or a list of their networks, such as [\"10.0.0.0/8\", \"fd00::/8\"]";

impl TrustedProxies {
    fn parse(value: &Value) -> Result<TrustedProxies, String> {
        let hops = |hops| NonZeroUsize::new(hops).filter(|hops| hops.get() <= MAX).map(TrustedProxies::Hops);
        match value {
            Value::Null => Some(TrustedProxies::Unstated),
            Value::Bool(false) => Some(TrustedProxies::None),
            Value::Bool(true) => hops(1),
            Value::Number(number) => number.as_u64().and_then(|number| hops(usize::try_from(number).ok()?)),
            Value::Array(networks) if (1..=MAX).contains(&networks.len()) => {
                let networks: Result<Vec<_>, String> = networks.iter().map(network).collect();
                return networks.map(TrustedProxies::Networks);
            }
            Value::Array(_) | Value::String(_) | Value::Object(_) => None,
        }
        .ok_or_else(|| format!("{FORMS}; {value} was given"))
    }

    /// Whether a peer is a trusted proxy, so that its `X-Forwarded-…` headers hold. `peer` is
    /// `None` if the server that received the request does not tell it.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match self {
            TrustedProxies::Unstated | TrustedProxies::None => false,
            TrustedProxies::Hops(_) => true,
            TrustedProxies::Networks(networks) => peer.is_some_and(|peer| contains(networks, peer)),
        }
    }

    /// The address of the client: the first one from the end of `forwarded`, the values of
    /// `X-Forwarded-For`, that is not a trusted proxy's. Behind an entry that is no address, it
    /// is the nearest address that is known.
    pub(crate) fn client<'a>(
        &self,
        peer: Option<IpAddr>,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> Option<IpAddr> {
        let mut client = peer.map(|peer| peer.to_canonical());
        if !self.trusts(peer) {
            return client;
        }
        let mut hops = 0;
        for entry in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            let is_proxy = match self {
                TrustedProxies::Hops(max) => hops < max.get(),
                TrustedProxies::Networks(networks) => client.is_some_and(|client| contains(networks, client)),
                TrustedProxies::Unstated | TrustedProxies::None => false,
            };
            let Some(address) = address_in(entry).filter(|_| is_proxy) else { break };
            (client, hops) = (Some(address), hops + 1);
        }
        client
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network with a prefix of 64 bits, because a
/// customer has at least that much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ClientNetwork {
    /// An IPv4 address, also one that is written as IPv6.
    V4([u8; 4]),
    /// The prefix of an IPv6 address.
    V6([u8; 8]),
}

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> ClientNetwork {
        match address.to_canonical() {
            IpAddr::V4(address) => ClientNetwork::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                ClientNetwork::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TrustedProxies, D::Error> {
        TrustedProxies::parse(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

fn network(value: &Value) -> Result<IpNet, String> {
    let text = value.as_str().ok_or_else(|| format!("{FORMS}; its list contains {value}"))?;
    let parsed = match text.contains('/') {
        true => text.parse::<IpNet>().ok(),
        false => text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())),
    };
    parsed.ok_or_else(|| format!("trustProxy contains {value}, which is no address and no network such as 10.0.0.0/8"))
}

/// The address of an entry: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
fn address_in(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.parse::<IpAddr>().ok().or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn proxies(value: Value) -> TrustedProxies {
        serde_json::from_value(value).expect("a valid option")
    }

    fn client(option: Value, peer: &str, forwarded: &[&str]) -> Option<String> {
        let client = proxies(option).client(peer.parse().ok(), forwarded.iter().copied());
        client.map(|client| client.to_string())
    }

    #[test]
    fn as_many_proxies_or_networks_as_the_limit_may_be_given_and_no_more() {
        let networks = |count: usize| json!((0..count).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>());
        for (most, one_more) in [(json!(MAX), json!(MAX + 1)), (networks(MAX), networks(MAX + 1))] {
            assert!(serde_json::from_value::<TrustedProxies>(most).is_ok());
            assert!(serde_json::from_value::<TrustedProxies>(one_more).is_err());
        }
    }

    #[test]
    fn each_form_is_parsed_and_others_are_refused_by_name() {
        assert_eq!(proxies(json!(null)), TrustedProxies::Unstated);
        assert_eq!(proxies(json!(false)), TrustedProxies::None);
        assert_eq!(proxies(json!(true)), proxies(json!(1)));
        assert_eq!(proxies(json!(["10.0.0.0/8", "::1"])), proxies(json!(["10.0.0.0/8", "::1/128"])));
        for wrong in [json!(0), json!(-1), json!(1.5), json!(101), json!([]), json!("10.0.0.0/8"), json!({})] {
            let refused = serde_json::from_value::<TrustedProxies>(wrong.clone()).expect_err("refused").to_string();
            assert!(refused.contains("trustProxy") && refused.contains(&wrong.to_string()), "{refused}");
        }
        for wrong in [json!(["10.0.0.0/33"]), json!(["proxy.internal"]), json!(["10.0.0.0/8", 7])] {
            let refused = serde_json::from_value::<TrustedProxies>(wrong).expect_err("refused").to_string();
            assert!(refused.contains("trustProxy"), "{refused}");
        }
    }

    #[test]
    fn only_what_trusted_proxies_have_written_counts() {
        let cases = [
            (json!(null), "10.0.0.1", vec!["192.0.2.1"], "10.0.0.1"),
            (json!(false), "10.0.0.1", vec!["192.0.2.1"], "10.0.0.1"),
            (json!(true), "10.0.0.1", vec!["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            (json!(true), "10.0.0.1", vec!["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
            (json!(2), "10.0.0.1", vec!["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (json!(2), "10.0.0.1", vec!["192.0.2.1"], "192.0.2.1"),
            (json!(["10.0.0.0/8"]), "10.0.0.1", vec!["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (json!(["10.0.0.0/8"]), "192.0.2.9", vec!["6.6.6.6"], "192.0.2.9"),
            (json!(["10.0.0.0/8"]), "::ffff:10.0.0.1", vec!["192.0.2.1"], "192.0.2.1"),
            (json!(["10.0.0.0/8"]), "10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (json!(true), "10.0.0.1", vec!["192.0.2.1:80"], "192.0.2.1"),
            (json!(true), "10.0.0.1", vec!["[2001:db8::1]:80"], "2001:db8::1"),
            (json!(true), "10.0.0.1", vec!["[2001:db8::1]"], "2001:db8::1"),
            (json!(true), "10.0.0.1", vec!["192.0.2.1, unknown"], "10.0.0.1"),
            (json!(true), "10.0.0.1", vec![], "10.0.0.1"),
        ];
        for (option, peer, forwarded, expected) in cases {
            assert_eq!(client(option.clone(), peer, &forwarded).as_deref(), Some(expected), "{option} {forwarded:?}");
        }
        // A server that does not tell its peer.
        assert_eq!(client(json!(true), "", &["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(json!(["10.0.0.0/8"]), "", &["192.0.2.1"]), None);
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_network_of_ipv6() {
        let of = |address: &str| ClientNetwork::from(address.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
    }

    proptest! {
        /// Whatever a client sends, the proxies append what they see.
        #[test]
        fn no_entry_of_the_client_changes_its_address(spoofed in "[0-9a-f.:,\\[\\] \"]{0,40}", by_network in any::<bool>()) {
            let option = if by_network { json!(["10.0.0.0/8"]) } else { json!(2) };
            let forwarded = [spoofed.as_str(), "192.0.2.1", "10.0.0.2"];
            prop_assert_eq!(client(option, "10.0.0.1", &forwarded), Some("192.0.2.1".to_owned()));
        }
    }
}
