//! `vipfence move`: plans or starts a move, and waits for its end.

use vipfence_proto::v1::{Move, MoveVipRequest, vip_service_client::VipServiceClient};

use super::{
    Session,
    args::MoveArgs,
    execute::{Order, carry_out, conclude},
    exit::Exit,
    failure::Failure,
    link::Link,
    progress,
};

pub(super) async fn run(session: &mut Session, args: &MoveArgs) -> Result<Exit, Failure> {
    let order = Order::new(&args.vip, &args.wait);
    let request = MoveVipRequest {
        vip: args.vip.clone(),
        target_node: args.to.clone().unwrap_or_default(),
        expected_holder: args.expect_holder.clone().unwrap_or_default(),
        expected_epoch: args.expect_epoch.unwrap_or_default(),
        request_id: order.request_id.clone(),
        dry_run: args.dry_run,
        force: args.force,
    };
    let send = async |link: &mut Link| {
        let call = async |channel, request| VipServiceClient::new(channel).move_vip(request).await;
        link.call(&request, call).await
    };
    if args.dry_run {
        let planned = send(&mut session.link).await?;
        if session.out.is_json() {
            session.out.json(&planned);
        }
        session.out.line(&progress::plan(&planned));
        return Ok(Exit::Done);
    }
    let (taken, last) =
        carry_out(session, &order, send, |taken: &Move| Some(taken.clone())).await?;
    conclude(session, &last.unwrap_or(taken))
}
