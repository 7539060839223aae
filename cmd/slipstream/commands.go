package main

import "github.com/spf13/cobra"

// commands lists every subcommand; a new one is one file and one line here.
func commands(t *tool) []*cobra.Command {
	return []*cobra.Command{
		newAlertCommand(t),
		newAppCommand(t),
		newAuditCommand(t),
		newBackupCommand(t),
		newChannelCommand(t),
		newCheckCommand(t),
		newConfirmCommand(t),
		newDeltaCommand(t),
		newDemoCommand(t),
		newDemoProgramCommand(t),
		newEasyclickCommand(t),
		newDeviceCommand(t),
		newExplainCommand(t),
		newFetchCommand(t),
		newExportCommand(t),
		newFloorCommand(t),
		newGCCommand(t),
		newKeyCommand(t),
		newLabClientCommand(t),
		newLabCommand(t),
		newLoginCommand(t),
		newMigrateCommand(t),
		newOpenAPICommand(t),
		newPromoteCommand(t),
		newProtocolCommand(t),
		newPublishCommand(t),
		newReleaseCommand(t),
		newReportCommand(t),
		newRestoreCommand(t),
		newRollbackCommand(t),
		newRolloutCommand(t),
		newRunCommand(t),
		newServeCommand(t),
		newSimulateCommand(t),
		newStatusCommand(t),
		newTokenCommand(t),
		newVerifyCommand(t),
		newVersionCommand(t),
		newWithdrawCommand(t),
	}
}
