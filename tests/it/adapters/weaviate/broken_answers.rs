//! Responses that break off, never come or never end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n";

/// Starts a server that reads a request from each connection and then does this with the connection, until the tests
/// end.
fn serve(answer: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            read_request(&stream);
            answer(&mut stream);
        }
    });
    url
}

fn read_request(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    for line in reader
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if let Some(given) = line.to_lowercase().strip_prefix("content-length: ") {
            length = given.parse().expect("a length");
        }
    }
    // A client that closes the connection has sent enough.
    let _ = reader.take(length).read_to_end(&mut Vec::new());
}

/// Keeps the connection until the client hangs up.
fn hold(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn impatient(url: &str) -> Weaviate {
    client_at(url).with_timeouts(Timeouts {
        answer: Duration::from_millis(100),
        ..PATIENCE
    })
}

#[track_caller]
fn check_too_late(answer: fn(&mut TcpStream)) {
    let address = serve(answer);
    let mut client = impatient(&address);
    let peer = address.trim_start_matches("http://");
    assert_eq!(
        client.class(),
        Err(ServiceError::new(
            FailureKind::TooHeavy,
            format!("no answer within 100ms from {peer}")
        ))
    );
    assert_eq!(client.requests(), 1);
}

#[test]
fn a_response_that_never_comes_times_out() {
    check_too_late(hold);
}

#[test]
fn a_response_that_stops_half_way_times_out() {
    check_too_late(|stream| {
        stream.write_all(HEAD).expect("a client");
        stream.write_all(b"{\"class\":").expect("a client");
        hold(stream);
    });
}

#[test]
fn a_response_that_trickles_times_out() {
    check_too_late(|stream| {
        stream.write_all(HEAD).expect("a client");
        kit::wait::until("the client to give up", kit::wait::SOON, || {
            stream.write_all(b" ").is_err()
        });
    });
}

#[test]
fn a_broken_connection_is_opened_again_before_weaviate_counts_as_down() {
    let closing: fn(&mut TcpStream) = |_| {};
    let cutting: fn(&mut TcpStream) = |stream| {
        stream
            .write_all(&[HEAD, b"{\"class\":"].concat())
            .expect("a client")
    };
    for answer in [closing, cutting] {
        let mut client = client_at(&serve(answer));
        let error = client.class().expect_err("no answer");
        assert!(error.kind == FailureKind::Unavailable, "{error:?}");
        assert_eq!(client.requests(), 3, "{error:?}");
    }
}

#[test]
fn a_silent_weaviate_is_asked_whether_it_is_ready_and_counts_as_down() {
    let mut client = impatient(&serve(hold));
    let error = client.write(&all_to_write(0..4)).expect_err("no answer");
    assert!(error.kind == FailureKind::TooHeavy, "{error:?}");
    assert_eq!(client.requests(), 2, "the batch and the question");
}
