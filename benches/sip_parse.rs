//! What reading a SIP message costs: the normaliser and the parser behind it, on messages as FreeSWITCH sends them, in ns and MB/s.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use nexus_gateway::sip::is_message;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("read");
    for (name, text) in [("INVITE", invite()), ("180", ringing()), ("200 to INVITE", answer()), ("BYE", bye())] {
        assert!(is_message(text.as_bytes()), "{name}");
        group.throughput(Throughput::BytesDecimal(text.len() as u64));
        group.bench_function(format!("{name}, {} bytes", text.len()), |bencher| bencher.iter(|| is_message(black_box(text.as_bytes()))));
    }
    group.finish();
    criterion.final_summary();
}

/// Lines as they go over the wire.
fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn with_body(head: &[&str], body: &str) -> String {
    lines(head) + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn sdp() -> String {
    lines(&[
        "v=0",
        "o=FreeSWITCH 1763861231 1763861232 IN IP4 192.0.2.10",
        "s=FreeSWITCH",
        "c=IN IP4 192.0.2.10",
        "t=0 0",
        "m=audio 27884 RTP/AVP 111 0 8 101 13",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; ptime=20; minptime=10; maxptime=40",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=rtpmap:13 CN/8000",
        "a=ptime:20",
        "a=sendrecv",
    ])
}

fn invite() -> String {
    let head = [
        "INVITE sip:agent-17@192.0.2.1:5070 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.10;rport;branch=z9hG4bK4Fy6pe7a1cXUN",
        "Max-Forwards: 69",
        "From: \"Ada Lovelace\" <sip:+15551230001@192.0.2.10>;tag=9D0e3tB1QyvNp",
        "To: <sip:agent-17@192.0.2.1:5070>",
        "Call-ID: 3b8f6ad2-42a1-123e-8aa5-0242ac120002",
        "CSeq: 41873121 INVITE",
        "Contact: <sip:mod_sofia@192.0.2.10:5060>",
        "User-Agent: FreeSWITCH-mod_sofia/1.10.12-release~64bit",
        "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY, PUBLISH, SUBSCRIBE",
        "Supported: timer, path, replaces",
        "Allow-Events: talk, hold, conference, presence, as-feature-event, dialog, line-seize, call-info, sla, include-session-description, presence.winfo, message-summary, refer",
        "Session-Expires: 1800;refresher=uac",
        "Min-SE: 120",
        "Content-Type: application/sdp",
        "Content-Disposition: session",
        "X-Campaign-Id: 018f2d9c-77aa-7f3e-9a1b-2f7a34b0c111",
        "X-Lead-Id: 018f2d9c-77aa-7f3e-9a1b-2f7a34b0c222",
        "X-FS-Support: update_display,send_info",
        "Remote-Party-ID: \"Ada Lovelace\" <sip:+15551230001@192.0.2.10>;party=calling;screen=yes;privacy=off",
    ];
    with_body(&head, &sdp())
}

fn ringing() -> String {
    let head = [
        "SIP/2.0 180 Ringing",
        "Via: SIP/2.0/UDP 192.0.2.1:5071;rport=5071;branch=z9hG4bK-0-5d1c9a44e80b7f21;received=192.0.2.1",
        "From: <sip:agent-17@192.0.2.10>;tag=0-77e2a91b",
        "To: <sip:+15551230001@192.0.2.10>;tag=8c7vN1rBtX2Qe",
        "Call-ID: 7d1f8e0a5b2c4d3e9f60718293a4b5c6",
        "CSeq: 1 INVITE",
        "Contact: <sip:+15551230001@192.0.2.10:5060;transport=udp>",
        "User-Agent: FreeSWITCH-mod_sofia/1.10.12-release~64bit",
        "Accept: application/sdp",
        "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY, PUBLISH, SUBSCRIBE",
        "Supported: timer, path, replaces",
        "Allow-Events: talk, hold, conference, presence, as-feature-event, dialog, line-seize, call-info, sla, include-session-description, presence.winfo, message-summary, refer",
    ];
    with_body(&head, "")
}

fn answer() -> String {
    let head = [
        "SIP/2.0 200 OK",
        "Via: SIP/2.0/UDP 192.0.2.1:5071;rport=5071;branch=z9hG4bK-0-5d1c9a44e80b7f21;received=192.0.2.1",
        "From: <sip:agent-17@192.0.2.10>;tag=0-77e2a91b",
        "To: <sip:+15551230001@192.0.2.10>;tag=8c7vN1rBtX2Qe",
        "Call-ID: 7d1f8e0a5b2c4d3e9f60718293a4b5c6",
        "CSeq: 1 INVITE",
        "Contact: <sip:+15551230001@192.0.2.10:5060;transport=udp>",
        "User-Agent: FreeSWITCH-mod_sofia/1.10.12-release~64bit",
        "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY, PUBLISH, SUBSCRIBE",
        "Supported: timer, path, replaces",
        "Allow-Events: talk, hold, conference, presence, as-feature-event, dialog, line-seize, call-info, sla, include-session-description, presence.winfo, message-summary, refer",
        "Session-Expires: 1800;refresher=uas",
        "Content-Type: application/sdp",
        "Content-Disposition: session",
        "Remote-Party-ID: \"+15551230001\" <sip:+15551230001@192.0.2.10>;party=calling;privacy=off;screen=no",
    ];
    with_body(&head, &sdp())
}

fn bye() -> String {
    let head = [
        "BYE sip:agent-17@192.0.2.1:5071 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.10;rport;branch=z9hG4bKcj8K2UmXryD4a",
        "Max-Forwards: 70",
        "From: <sip:+15551230001@192.0.2.10>;tag=8c7vN1rBtX2Qe",
        "To: <sip:agent-17@192.0.2.10>;tag=0-77e2a91b",
        "Call-ID: 7d1f8e0a5b2c4d3e9f60718293a4b5c6",
        "CSeq: 41873210 BYE",
        "User-Agent: FreeSWITCH-mod_sofia/1.10.12-release~64bit",
        "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY, PUBLISH, SUBSCRIBE",
        "Supported: timer, path, replaces",
        "Reason: Q.850;cause=16;text=\"NORMAL_CLEARING\"",
    ];
    with_body(&head, "")
}
