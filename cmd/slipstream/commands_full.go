//go:build !device

package main

// What version and help call this build.
const (
	buildName = "full"
	rootShort = "Self-hosted hot updates: server, publisher's tool and client"
)

// startsLarge: what the packages of this build set up are 2 MiB.
const startsLarge = true

// fullCommands are the commands of fullNames.
func fullCommands() []listed {
	return []listed{
		{"alert", newAlertCommand},
		{"app", newAppCommand},
		{"audit", newAuditCommand},
		{"backup", newBackupCommand},
		{"build", newBuildCommand},
		{"capgo", newCapgoCommand},
		{"channel", newChannelCommand},
		{"codepush", newCodepushCommand},
		{"console", newConsoleCommand},
		{"demo", newDemoCommand},
		{"demo-program", newDemoProgramCommand},
		{"device", newDeviceCommand},
		{"doctor", newDoctorCommand},
		{"explain", newExplainCommand},
		{"export", newExportCommand},
		{"floor", newFloorCommand},
		{"gc", newGCCommand},
		{"import", newImportCommand},
		{"key", newKeyCommand},
		{"lab", newLabCommand},
		{"lab-client", newLabClientCommand},
		{"login", newLoginCommand},
		{"member", newMemberCommand},
		{"migrate", newMigrateCommand},
		{"openapi", newOpenAPICommand},
		{"promote", newPromoteCommand},
		{"protocol", newProtocolCommand},
		{"publish", newPublishCommand},
		{"release", newReleaseCommand},
		{"report", newReportCommand},
		{"restore", newRestoreCommand},
		{"rollback", newRollbackCommand},
		{"rollout", newRolloutCommand},
		{"serve", newServeCommand},
		{"simulate", newSimulateCommand},
		{"status", newStatusCommand},
		{"token", newTokenCommand},
		{"withdraw", newWithdrawCommand},
	}
}

// fullDeltaCommands are the commands of fullDeltaNames.
func fullDeltaCommands() []listed {
	return []listed{{"bench", newDeltaBenchCommand}, {"diff", newDeltaDiffCommand}}
}
