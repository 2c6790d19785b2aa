//! Whose a connection from this machine is. The kernel lists the sockets of this network namespace with their owners.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

/// The two ends of a connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    peer: SocketAddr,
    local: SocketAddr,
    // Looked up once, when somebody asks.
    owner: Arc<OnceLock<Option<u32>>>,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Self {
            peer: canonical(peer),
            local: canonical(local),
            owner: Arc::default(),
        }
    }

    /// Whether both ends are on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.peer.ip().is_loopback() && self.local.ip().is_loopback()
    }

    /// The user whose socket the other end is; none when the kernel does not say.
    ///
    /// An end that was closed belongs to nobody and is passed over: whoever closed it reads no answer.
    pub(super) fn owner(&self) -> Option<u32> {
        *self.owner.get_or_init(|| {
            ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
                .into_iter()
                .filter_map(|table| File::open(table).ok())
                .flat_map(|table| BufReader::new(table).lines().map_while(Result::ok))
                .find_map(|line| owner(&line, self.peer, self.local))
        })
    }
}

/// The owner of the socket in this line of the table, if that is the one with these ends.
fn owner(line: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if end(fields.next()?)? != from || end(fields.next()?)? != to {
        return None;
    }
    // State, queues, timers and retransmissions come before the owner, and one more counter before the inode.
    let uid = fields.nth(4)?.parse().ok()?;
    let inode = fields.nth(1)?;
    (inode != "0").then_some(uid)
}

/// An address as the kernel prints it: words as they lie in memory, and the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn our_own_connections_are_ours() {
        let own = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("SKIP {address}: cannot be listened on");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let connection = Connection::new(peer, server.local_addr().unwrap());
            assert!(connection.is_local());
            assert_eq!(connection.owner(), Some(own), "{address}");
            drop(client);
            let gone = Connection::new(peer, server.local_addr().unwrap());
            assert_eq!(gone.owner(), None, "an end that was closed is nobody's");
        }
    }

    #[test]
    fn lines_of_the_table() {
        let line = "   5: 0100007F:D431 0100007F:24F8 01 00000000:00000000 00:00000000 00000000  1000        0 66611 1 0";
        let ends = |from: &str, to: &str| owner(line, from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(ends("127.0.0.1:54321", "127.0.0.1:9464"), Some(1000));
        assert_eq!(ends("127.0.0.1:9464", "127.0.0.1:54321"), None);
        assert_eq!(ends("127.0.0.2:54321", "127.0.0.1:9464"), None);
        let mapped = line.replace("0100007F", "0000000000000000FFFF00000100007F");
        let from = "127.0.0.1:54321".parse().unwrap();
        assert_eq!(
            owner(&mapped, from, "127.0.0.1:9464".parse().unwrap()),
            Some(1000)
        );
        for broken in ["", "5:", "5: x:y z", "5: 0100007F:D431 0100007F:24F8 01"] {
            assert_eq!(owner(broken, from, from), None, "{broken}");
        }
    }
}
