//! Planted faults. Each one breaks a promise, which the check must notice.

simulator::mutants! {
    /// A fault of the code around the database.
    pub(crate) enum Mutant {
        /// Answers although COMMIT failed or its outcome is unknown.
        AnswerWithoutCommit,
        /// Repeats a transaction whose COMMIT had an unknown outcome.
        RepeatUnknownCommit,
        /// Does not read the idempotency keys, and does not store them either.
        ForgetKeys,
        /// Reads the keys before the products are locked, and ignores that another transaction has
        /// stored one of them since.
        RaceKeys,
        /// Takes every known key for a repetition of the same request.
        IgnoreFingerprint,
        /// Does not lock the products.
        LockNoProduct,
        /// Does not lock the callers.
        LockNoCaller,
        /// Decides with more stock than there is, and updates without a guard.
        InventStock,
        /// Decides with less stock than there is.
        HideStock,
        /// Does not subtract the pieces.
        KeepStock,
        /// Takes every token for valid.
        TrustTokens,
        /// Gives ids by the clock of the machine alone.
        TrustTheClock,
        /// Loses the event of an order.
        LoseEvents,
        /// Writes the event in a transaction of its own.
        EventsOutside,
        /// Writes each event twice.
        DoubleEvents,
        /// Gives each caller the outcome of the next one.
        ShiftOutcomes,
        /// Answers a replay with the present state of the order.
        ReplayPresentState,
        /// Never ends a batch of several orders.
        HangOnBatches,
        /// Calls the products of a busy batch unknown.
        ForgetProducts,
        /// Places each order of a batch twice.
        DoubleOrders,
        /// Keeps a lock of the rows after COMMIT.
        KeepLocks,
        /// Keeps the locks of transactions whose connection is lost.
        KeepLocksOfLost,
        /// Locks the products in the order of the calls.
        LockInOrderOfCalls,
        /// Repeats a transaction whose COMMIT is not answered within 5 s.
        RepeatLateCommit,
        /// Does not give back a permit of the queue if the caller disconnects.
        LeakPermits,
        /// Does not give back the permit of a user if the caller disconnects.
        LeakUserPermits,
        /// Reads the stock from a standby, which is 200 ms late.
        ReadFromStandby,
        /// Reads the stock with the changes of open transactions.
        ReadUncommitted,
        /// The synchronous standby lacks the last transactions.
        LoseAcknowledged,
        /// Keeps the keys that it has read, also over a fail-over.
        RememberKeys,
        /// Repeats the direct statement if its answer is lost.
        RepeatLostStatement,
        /// Reports orders that the direct statement has placed as undecided.
        ReportPlacedAsUndecided,
        /// The direct statement takes every token for valid.
        TrustTokensDirectly,
        /// The direct statement subtracts the pieces without a guard.
        InventStockDirectly,
        /// The direct statement does not compare the ids with the newest order.
        TrustTheClockDirectly,
        /// The direct statement compares ids with those of the same product only.
        CompareIdsOfProduct,
        /// The direct statement ignores that another transaction has stored one of the keys.
        RaceKeysDirectly,
        /// The direct statement writes no events.
        LoseEventsDirectly,
        /// Gives all orders of a call the latest of their deadlines.
        WaitForTheLatestDeadline,
        /// Gives all orders of a call the earliest of their deadlines.
        ExpireTogether,
    }
}
