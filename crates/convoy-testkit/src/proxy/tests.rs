use super::*;

#[test]
fn listen_is_distinguished_from_unlisten() {
    assert!(contains_listen(b"Q\0\0\0\x14LISTEN \"convoy\"\0"));
    assert!(contains_listen(b"Q\0\0\0\x14listen convoy\0"));
    assert!(!contains_listen(b"Q\0\0\0\x14unlisten convoy\0"));
    assert!(!contains_listen(b"Q\0\0\0\x14select pg_listening_channels()\0"));
}

/// A server that sends back what it receives, behind a proxy; returns the port of the proxy.
async fn echo() -> (Proxy, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let target = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                // The test has ended if this fails.
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    let (proxy, url) = Proxy::before(&format!("postgres://role@{target}/database")).await;
    let port = url.split([':', '/']).nth_back(1).expect("a port").parse().expect("a number");
    (proxy, port)
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.expect("the proxy listens")
}

async fn send(socket: &mut TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).await.expect("the proxy reads");
}

async fn expect(socket: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    crate::within(socket.read_exact(&mut received)).await.expect("the connection is open");
    assert_eq!(received, bytes);
}

#[tokio::test]
async fn a_delay_postpones_each_flush_and_not_all_of_them_together() {
    let (proxy, port) = echo().await;
    let mut socket = connect(port).await;
    let delay = Duration::from_millis(300);
    proxy.set(&[Flow::ANSWERS], Conditions { delay, ..Conditions::default() });
    let began = Instant::now();
    for number in 0..8u8 {
        send(&mut socket, &[number]).await;
        proxy
            .until_flushes(Flow { listens: false, direction: Direction::ToServer }, |flushes| {
                flushes.passed > u64::from(number)
            })
            .await;
    }
    expect(&mut socket, &[0, 1, 2, 3, 4, 5, 6, 7]).await;
    let took = began.elapsed();
    assert!(took >= delay && took < delay * 8, "{took:?}");
}

#[tokio::test]
async fn a_throttled_connection_has_this_rate() {
    let (proxy, port) = echo().await;
    let mut socket = connect(port).await;
    proxy.set(&[Flow::ANSWERS], Conditions { bytes_per_second: Some(10_000), ..Conditions::default() });
    let began = Instant::now();
    let bytes = vec![7; 4_000];
    send(&mut socket, &bytes).await;
    expect(&mut socket, &bytes).await;
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_flushes_of_a_listening_connection_wait_while_others_pass_and_the_other_way_round() {
    let (proxy, port) = echo().await;
    let (mut listening, mut other) = (connect(port).await, connect(port).await);
    let listen = b" LISTEN convoy";
    send(&mut listening, listen).await;
    expect(&mut listening, listen).await;
    for (flow, is_listening) in [(Flow::NOTIFICATIONS, true), (Flow::ANSWERS, false)] {
        let (held, passing) = if is_listening { (&mut listening, &mut other) } else { (&mut other, &mut listening) };
        proxy.hold(flow);
        let before = proxy.flushes(flow);
        for number in 0..3 {
            send(held, &[number]).await;
        }
        proxy.until_flushes(flow, |flushes| flushes.held > before.held).await;
        send(passing, b"passes").await;
        expect(passing, b"passes").await;
        assert_eq!(proxy.flushes(flow).passed, before.passed, "nothing of the held connection has passed");
        proxy.release();
        expect(held, &[0, 1, 2]).await;
    }
}

#[tokio::test]
async fn data_that_waits_arrives_before_the_end_of_its_connection() {
    let (proxy, port) = echo().await;
    let mut socket = connect(port).await;
    proxy.hold(Flow::ANSWERS);
    send(&mut socket, b"last words").await;
    proxy.until_flushes(Flow::ANSWERS, |flushes| flushes.held > 0).await;
    proxy.release();
    expect(&mut socket, b"last words").await;
    socket.shutdown().await.expect("an open socket");
    assert_eq!(crate::within(socket.read(&mut [0])).await.expect("it is closed in order"), 0);
}

#[tokio::test]
async fn a_connection_ends_in_place_of_the_answer_that_is_lost() {
    let (proxy, port) = echo().await;
    let mut sockets = [connect(port).await, connect(port).await, connect(port).await];
    for (at, how) in [(0, End::Reset), (1, End::Silence)] {
        let losing = proxy.lose_answer("COMMIT", how);
        let sending = async {
            let [.., other] = &mut sockets;
            send(other, b"BEGIN").await;
            expect(other, b"BEGIN").await;
            send(&mut sockets[at], b"C\0\0\0\x0bCOMMIT\0").await;
        };
        tokio::join!(losing, sending);
        let mut rest = [0];
        let read = tokio::time::timeout(Duration::from_millis(200), sockets[at].read(&mut rest)).await;
        match how {
            End::Reset => assert!(read.is_ok_and(|read| read.is_err()), "the connection is reset"),
            End::Silence => assert!(read.is_err(), "nothing arrives"),
        }
    }
    assert_eq!(proxy.open_connections(), [3]);
    // Only one was to be lost.
    send(&mut sockets[2], b"COMMIT").await;
    expect(&mut sockets[2], b"COMMIT").await;
}
