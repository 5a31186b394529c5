//! Every file of the corpora, through the bodies that libFuzzer runs.

use std::fs;
use std::path::Path;

fn replay(name: &str) {
    let body = nexus_fuzz::target(name).expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} files", files.len());
    for file in files {
        // Shown only if the body panics.
        println!("{}", file.display());
        body(&fs::read(&file).expect("a readable file"));
    }
}

#[test]
fn datagrams_of_anybody_do_a_live_call_no_harm() {
    replay("datagram");
}

#[test]
fn sip_messages_are_read_back_as_written_and_no_script_leaves_anything_behind() {
    replay("sip");
}

#[test]
fn session_descriptions_are_answered_in_a_way_that_is_understood() {
    replay("sdp");
}

#[test]
fn rtp_and_rtcp_are_read_within_bounds_and_forgeries_change_nothing() {
    replay("rtp");
}

#[test]
fn a_transport_answers_nobody_without_the_password() {
    replay("ufrag");
}

#[test]
fn client_events_are_always_answered() {
    replay("socket_io");
}

#[test]
fn a_configuration_is_sound_or_refused_with_reasons_and_shows_no_secret() {
    replay("config");
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let mut corpora: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
        .expect("the corpora")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    corpora.sort();
    let mut targets: Vec<_> = nexus_fuzz::TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    targets.sort();
    assert_eq!(corpora, targets);
}
