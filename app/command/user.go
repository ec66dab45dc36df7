package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"backbeat/app/password"
	"backbeat/app/user"
)

// drawnPassword is how many letters and digits a password that is drawn has.
const drawnPassword = 16

// account shows an account, logs it out everywhere or gives it another password too:
// who forgets a password, or lost the account to somebody, has no other way back.
func account(ctx context.Context, i invocation) error {
	usage := errors.New("user takes: show NAME, log-out NAME, or reset-password NAME")
	if len(i.args) != 2 {
		return usage
	}
	verb, name := i.args[0], i.args[1]
	if !slices.Contains([]string{"show", "log-out", "reset-password"}, verb) {
		return usage
	}
	return i.withDatabase(ctx, func(s session) error {
		found, err := user.Find(ctx, s.db, name)
		if err != nil {
			return err
		}
		switch verb {
		case "show":
			_, err = fmt.Fprintf(i.out, "id:         %d\nname:       %q\nregistered: %s\nsignature:  %q\n",
				found.ID, found.Name, time.UnixMilli(found.CreatedAt).Format(time.RFC3339), found.Signature)
			return err
		case "log-out":
			if err := user.Revoke(ctx, s.db, found, time.Now()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(i.out, "%q has to log in again everywhere.\n", found.Name)
			return err
		}
		passwords := password.New(password.Config{AtOnce: 1}, password.Deps{Log: s.log})
		defer passwords.Close()
		drawn := rand.Text()[:drawnPassword]
		if err := user.SetPassword(ctx, s.db, passwords, found, drawn, time.Now); err != nil {
			return err
		}
		_, err = fmt.Fprintf(i.out, "The password of %q is now %s\nWhoever was logged in has to log in again.\n", found.Name, drawn)
		return err
	})
}
