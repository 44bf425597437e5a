//! Waiting for the first of two futures.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which future ended first.
pub(crate) enum First<A, B> {
    /// The one on the left; it is asked first.
    Left(A),
    /// The one on the right.
    Right(B),
}

/// Waits until one of two futures ends, and drops the other.
pub(crate) async fn first<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| match left.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(First::Left(answer)),
        Poll::Pending => right.as_mut().poll(context).map(First::Right),
    })
    .await
}

/// Lets other futures of the runtime go on.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
