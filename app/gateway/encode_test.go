package gateway

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// texts are any, and those that JSON or browsers mind more often.
var texts = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
	"", "用户🎬", `"quoted" \ back`, "<b>&</b>", "line\n\t\x00\x1f\x7f", "\u2028\u2029", "\xff\xfe", "half \xe7\x94", "\ufffd",
}))

func users() *rapid.Generator[userView] {
	return rapid.Custom(func(t *rapid.T) userView {
		number := func(name string) int64 { return rapid.Int64().Draw(t, name) }
		return userView{
			ID: number("id"), Name: texts.Draw(t, "name"), FollowCount: number("follows"), FollowerCount: number("followers"),
			IsFollow: rapid.Bool().Draw(t, "followed"), Avatar: texts.Draw(t, "avatar"), BackgroundImage: texts.Draw(t, "background"),
			Signature: texts.Draw(t, "signature"), TotalFavorited: number("likes"), WorkCount: number("works"), FavoriteCount: number("given"),
		}
	})
}

// What is encoded by hand is what the library writes.
func TestAnswersAreEncodedAsTheLibraryDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		status := envelope{rapid.Int().Draw(t, "code"), texts.Draw(t, "msg")}
		one := &userAnswer{envelope: status}
		if rapid.Bool().Draw(t, "found") {
			u := users().Draw(t, "user")
			one.User = &u
		}
		list := &usersAnswer{status, rapid.SliceOfN(users(), 0, 4).Draw(t, "list")}
		if list.UserList == nil {
			list.UserList = []userView{}
		}
		for _, a := range []answer{one, list} {
			want, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := encode(a); err != nil || string(got) != string(want) {
				t.Fatalf("encoded as %s, %v, want %s", got, err, want)
			}
		}
	})
}
