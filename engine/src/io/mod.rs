//! Datagram backends: io_uring and recvmmsg/sendmmsg behind one trait.
