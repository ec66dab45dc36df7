package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"backbeat/app/password"
	"backbeat/app/user"
)

// drawnPassword is how many letters and digits a password that is drawn has.
const drawnPassword = 16

// account shows an account or gives it another password: who forgets a password has
// no other way back.
func account(ctx context.Context, i invocation) error {
	usage := errors.New("user takes: show NAME, or reset-password NAME")
	if len(i.args) != 2 {
		return usage
	}
	verb, name := i.args[0], i.args[1]
	if verb != "show" && verb != "reset-password" {
		return usage
	}
	return i.withDatabase(ctx, func(s session) error {
		found, err := user.Find(ctx, s.db, name)
		if err != nil {
			return err
		}
		if verb == "show" {
			_, err = fmt.Fprintf(i.out, "id:         %d\nname:       %q\nregistered: %s\nsignature:  %q\n",
				found.ID, found.Name, time.UnixMilli(found.CreatedAt).Format(time.RFC3339), found.Signature)
			return err
		}
		passwords := password.New(password.Config{AtOnce: 1}, password.Deps{Log: s.log})
		defer passwords.Close()
		drawn := rand.Text()[:drawnPassword]
		if err := user.SetPassword(ctx, s.db, passwords, found, drawn); err != nil {
			return err
		}
		_, err = fmt.Fprintf(i.out, "The password of %q is now %s\nThose logged in stay so until their tokens expire (token.life).\n", found.Name, drawn)
		return err
	})
}
