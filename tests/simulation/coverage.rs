//! What a run has come by. What it never came by, it proves nothing about.

use std::collections::BTreeMap;

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What can happen in a history.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point { $($(#[$doc])* $name,)* }
        /// All of it.
        pub const POINTS: &[Point] = &[$(Point::$name,)*];
    };
}

points! {
    // Faults.
    CrashIdle, CrashMidCommand, CrashMidSync, CrashMidOther, CrashAfterCommit, TrapKeptWrites, UndoneCommit,
    Superseded, SupersededAnswered, SupersededCommand, SupersededGated, Rewound, RewindNoticed, RewindUnnoticed,
    OpenedAgain, TermsChanged, SlowFlush,
    KvStale, KvCachedMiss, KvLost, KvAppliedButFailed, KvLate, KvTwice, KvTooSoon, KvOutage, KvReadFailed, KvTampered,
    MessageLost, MessageLate, AnswerLost, AnswerAfterDeadline, FlightDiedUnnoticed, SyncRepeated, CommandRepeatedByWorker,
    ObjectUnreachable, AlarmLost, AlarmEarly, AlarmTwice, AlarmConcurrent,
    IsolateEvicted, EvictedMidRequest, IsolateClockSetBack, LongIdle, SlowTurn, DeployedPepper, DeployedSigning, DeployedNoOldSigning,
    DeployedNoOldPepper, DeployedWire, QuestionOfOtherVersion, AnswerOfOtherVersion, CopyOfOtherVersion, LongSleep,
    Lured, IsolateCutOff,
    // The verifier.
    Forged, OldPepper, FromCache, ReadMirror, ReadGrantAlone, DeniedAddress, AllowedFromAddress, AddressRead, Rotated, RotatedAtOnce, OverlapBegun, RotationCancelled, MirrorBelieved, MirrorNotBelieved, AskedAuthority, Waited, WaitedThenAsked,
    SecondSync, Undetermined, Unknown, UnknownRemembered, AllowedInGrace, DeniedInGrace, StrictAllowed,
    StrictDenied, Renewal, Told, ResetApplied, ResetOfNothing, LowMoved, LateLow, ResetShortens, RefreshAsked,
    DeniedRevoked, DeniedDisabled, DeniedSuspended, DeniedNoAccess, DeniedScope, DeniedExpired, DeniedNotYet,
    DeniedEnvironment, DeniedNoWorkspace, DeniedWorkspace, AllowedInWorkspace, DeniedFeature, AllowedByPlatform,
    // Combinations.
    AllowedInLast100Ms, AllowedStale, DeniedStale, AllowedAfterRevokeWithinB, RevokeRacesSync, RevokeDuringRequest,
    AllowedAfterWidening, AcceptFromSuperseded,
    // Administrators.
    Acknowledged, Refused, PreconditionFailed, Repeated, RepeatedKeyAgain, Waiting, WaitedEffective,
    WaitedAfterRestart, NeverAnswered, CommittedUnanswered, ReadByAdmin, MirroredInTime, NotMirroredInTime,
    ConcurrentCommands, ReplayAfterRestart, IdWithAnotherBody, RevokedAll, RevokedAllAgain, WorkspaceCreated,
    WorkspaceArchived, Swept, Planned, PlanningInSteps, PlanExecuted, PlanCancelled, RevokedByPlan, PlanInChunks, PlatformSet, CommandByCredential, CredentialRefused,
}

/// How often each was met.
#[derive(Clone, Default)]
pub struct Coverage(BTreeMap<Point, u64>);

impl Coverage {
    pub fn met(&mut self, point: Point) {
        *self.0.entry(point).or_default() += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        for (point, count) in &other.0 {
            *self.0.entry(*point).or_default() += count;
        }
    }

    pub fn count(&self, point: Point) -> u64 {
        self.0.get(&point).copied().unwrap_or(0)
    }

    /// What was never met.
    pub fn missing(&self) -> Vec<Point> {
        POINTS.iter().copied().filter(|point| self.count(*point) == 0).collect()
    }

    /// One line for each.
    pub fn table(&self) -> String {
        POINTS.iter().map(|point| format!("{:>12}  {point:?}\n", self.count(*point))).collect()
    }
}
