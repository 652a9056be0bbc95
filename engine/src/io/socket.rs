//! Binding: the sockets that agents hand to a backend.
//!
//! Invariant: a port that somebody else holds is an error, never a silent share, and what
//! [`bind_pair`] returns has one port number for both protocols.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// What is asked for in each direction. The kernel caps it silently (`net.core.rmem_max`); a burst
/// of gossip from many peers at once must outlive a shard that is busy for a few milliseconds.
const SOCKET_BUFFER_BYTES: usize = 2 * 1_024 * 1_024;

/// Free ports are plenty, so one that is free for UDP and taken for TCP is rare.
const PAIR_MAX_TRIES: usize = 64;

const LISTEN_BACKLOG: i32 = 256;

/// Binds a datagram socket: non-blocking, closed on exec, with large buffers where the kernel
/// allows them; `::` takes IPv4 as well.
///
/// # Errors
/// The address is taken, not ours, or of a family that the kernel does not have.
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(addr, Type::DGRAM, Protocol::UDP)?;
    // Best effort: a refusal leaves the default, which works.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    let_routers_fragment(&socket, addr);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Where a path is narrower than our 1,200 bytes and the message that says so is lost, datagrams
/// that may not be fragmented vanish without a trace. So they may be, and what strangers claim of
/// the path is not believed.
fn let_routers_fragment(socket: &Socket, addr: SocketAddr) {
    let fd = socket.as_raw_fd();
    // Best effort: an old kernel discovers the path instead. A dual-stack socket takes both.
    let _ = set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT);
    if addr.is_ipv6() {
        let (level, omit) = (libc::IPPROTO_IPV6, libc::IPV6_PMTUDISC_OMIT);
        let _ = set_option(fd, level, libc::IPV6_MTU_DISCOVER, omit);
    }
}

/// Sets an option that is an integer.
pub(crate) fn set_option(fd: RawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let (at, len): (*const i32, _) = (&raw const value, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the kernel reads an integer of the length given during the call.
    match unsafe { libc::setsockopt(fd, level, option, at.cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Datagrams that a socket had no room for, by the kernel's own count.
pub(crate) fn receive_drops(fd: RawFd) -> Option<u64> {
    /// `SK_MEMINFO_DROPS`, since 4.12.
    const DROPS: usize = 8;
    let mut counts = [0_u32; DROPS + 1];
    let mut len = size_of_val(&counts) as libc::socklen_t;
    let at = counts.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes, for which there is room, and the length.
    let told =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, at, &raw mut len) };
    (told == 0 && len as usize == size_of_val(&counts)).then(|| u64::from(counts[DROPS]))
}

/// Binds a datagram socket and a listener to the same port number, both non-blocking. Port 0 takes
/// any number that is free for both.
///
/// # Errors
/// As for [`bind`]; for port 0 also when no number free for both was found.
pub fn bind_pair(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries_left = PAIR_MAX_TRIES;
    loop {
        let datagrams = bind(addr)?;
        let listener = listen(SocketAddr::new(addr.ip(), datagrams.local_addr()?.port()));
        tries_left -= 1;
        match listener {
            Ok(listener) => return Ok((datagrams, listener)),
            Err(error)
                if addr.port() == 0
                    && tries_left > 0
                    && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(addr, Type::STREAM, Protocol::TCP)?;
    // Connections of an earlier run that linger in TIME_WAIT do not hold the port; a listener does.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(addr), kind.nonblocking().cloexec(), Some(protocol))?;
    if let SocketAddr::V6(addr) = addr {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_number_for_both() {
        for _ in 0..20 {
            let (datagrams, listener) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
            let number = datagrams.local_addr().unwrap().port();
            assert_ne!(number, 0);
            assert_eq!(number, listener.local_addr().unwrap().port());
        }
    }

    #[test]
    fn a_busy_port_is_an_error_for_either_protocol() {
        let (datagrams, listener) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = datagrams.local_addr().unwrap();
        assert_eq!(bind(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(datagrams);
        let error = bind_pair(addr).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "the listener still has it");
        drop(listener);
        bind_pair(addr).unwrap();
    }

    /// A path that is narrower than it seems must not swallow what may be fragmented.
    #[test]
    fn routers_may_fragment_what_we_send() {
        let option = |socket: &UdpSocket, level, option| {
            let mut value = -1_i32;
            let mut len = size_of::<i32>() as libc::socklen_t;
            let (fd, at) = (socket.as_raw_fd(), (&raw mut value).cast());
            // SAFETY: the kernel writes an integer and its length, both ours.
            let told = unsafe { libc::getsockopt(fd, level, option, at, &raw mut len) };
            assert_eq!(told, 0);
            value
        };
        let (four, six) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6);
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(option(&socket, four, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_OMIT);
        let Ok(socket) = bind("[::]:0".parse().unwrap()) else {
            println!("skipped: no IPv6");
            return;
        };
        assert_eq!(option(&socket, four, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_OMIT);
        assert_eq!(option(&socket, six, libc::IPV6_MTU_DISCOVER), libc::IPV6_PMTUDISC_OMIT);
    }

    #[test]
    fn a_socket_does_not_block_and_is_not_inherited() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = socket.recv_from(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // SAFETY: reads a flag of a descriptor that `socket` keeps open.
        let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFD) };
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
    }
}
