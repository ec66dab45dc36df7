// Package backup does what deploy/backup.md says, with the commands that stand there: it
// fills an instance, saves it while it runs, destroys it, restores it, and looks for a
// difference.
package backup
