//! Every error of the one table, and every denial, is reached through a real gRPC client. A new one
//! without a test here fails the comparison with the complete list.

pub mod beside;
mod denials;
mod of_requests;
mod of_the_store;
mod wire;

use std::collections::BTreeMap;

use countersign::rpc::status::CODES;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_of_the_table_is_reached() {
    let mut statuses = of_requests::statuses().await;
    statuses.extend(of_the_store::statuses().await);
    let mut reached: BTreeMap<String, Code> = BTreeMap::new();
    for status in statuses {
        let info = status.get_details_error_info();
        let info = info.unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
        assert_eq!(info.domain, "countersign");
        assert!(status.message().len() <= 512 && !status.message().is_empty());
        let known = reached.insert(info.reason.clone(), status.code());
        assert!(known.is_none_or(|code| code == status.code()), "{} has two codes", info.reason);
    }
    let table: BTreeMap<String, Code> =
        CODES.into_iter().map(|(reason, code)| (reason.to_owned(), code)).collect();
    assert_eq!(reached, table);
}
