//! A network between a program and its server: everything that the program sends arrives later.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Listens on an address that leads to the server; returns it. It is there until the program ends.
pub fn in_front_of(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let address = listener.local_addr().expect("a bound listener");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(server).expect("the server");
            let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
            let (from_server, to_client) = (clone(&server), clone(&client));
            thread::spawn(move || pass(client, server, delay));
            thread::spawn(move || pass(from_server, to_client, Duration::ZERO));
        }
    });
    address
}

/// Passes bytes on until one side closes the connection.
fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let _ = to.set_nodelay(true);
    let mut bytes = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        thread::sleep(delay);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
