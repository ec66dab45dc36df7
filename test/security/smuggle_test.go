package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"backbeat/app/gateway"
	"backbeat/test/harness"
)

// trick is one way to pass for another: it turns a request of the attacker's into
// one that names the victim somewhere.
type trick struct {
	name string
	// anonymous tricks leave the attacker's own token out.
	anonymous bool
	// apply changes the query; it returns headers and a form.
	apply func(query *string, victim harness.Account) (headers http.Header, kind, body string)
}

// identities are names that some backend takes for who asks (API §6, defect 17).
var identities = []string{"actor_id", "viewer_id", "uid", "userId", "from_user_id", "sub", "author_id", "owner_id", "id", "user"}

var tricks = []trick{
	{"identities after the token", false, func(query *string, victim harness.Account) (http.Header, string, string) {
		*query += "&" + naming(victim)
		return nil, "", ""
	}},
	{"identities before the token", false, func(query *string, victim harness.Account) (http.Header, string, string) {
		*query = naming(victim) + "&" + *query
		return nil, "", ""
	}},
	{"identities in a form", false, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return nil, urlencoded, naming(victim)
	}},
	{"identities in JSON", false, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return nil, "application/json", fmt.Sprintf(`{"actor_id":%d,"token":%q}`, victim.ID, victim.Token)
	}},
	{"a second token", false, func(query *string, victim harness.Account) (http.Header, string, string) {
		*query += "&token=" + victim.Token
		return nil, "", ""
	}},
	{"another token in a form", false, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return nil, urlencoded, "token=" + victim.Token
	}},
	{"a second token behind a semicolon", false, func(query *string, victim harness.Account) (http.Header, string, string) {
		*query += "&x=1;token=" + victim.Token
		return nil, "", ""
	}},
	{"a token in headers", false, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return carrying(victim), "", ""
	}},
	{"a token in headers alone", true, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return carrying(victim), "", ""
	}},
	{"a token by other names", true, func(query *string, victim harness.Account) (http.Header, string, string) {
		for _, name := range []string{"Token", "TOKEN", "token[]", "token%00", "%20token", "token%20", "token.", "access_token", "jwt", "t%C5%8Fken"} {
			*query += "&" + name + "=" + victim.Token
		}
		return nil, "", ""
	}},
	{"a token in a file of a form", true, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return nil, "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"token\"; filename=\"a\"\r\n\r\n" + victim.Token + "\r\n--x--\r\n"
	}},
	{"a token in a form of another kind", true, func(_ *string, victim harness.Account) (http.Header, string, string) {
		return nil, "text/plain", "token=" + victim.Token
	}},
	{"a token in a fragment of the query", true, func(query *string, victim harness.Account) (http.Header, string, string) {
		*query += "&x=%23token=" + victim.Token
		return nil, "", ""
	}},
}

func naming(victim harness.Account) string {
	values := url.Values{}
	for _, name := range identities {
		values.Set(name, fmt.Sprint(victim.ID))
	}
	return values.Encode()
}

func carrying(victim harness.Account) http.Header {
	id := fmt.Sprint(victim.ID)
	return http.Header{
		"Authorization": {"Bearer " + victim.Token}, "Cookie": {"token=" + victim.Token}, "Token": {victim.Token}, "X-Token": {victim.Token},
		"X-User-Id": {id}, "X-Actor-Id": {id}, "User-Id": {id}, "Micro-User-Id": {id}, "Grpc-Metadata-User-Id": {id},
		"X-Original-Url": {"/douyin/user/?token=" + victim.Token}, "X-Http-Method-Override": {"POST"},
	}
}

// Who asks is who signed in, on every route and by every trick.
func TestSmuggledIdentities(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.state(t)
	for _, route := range gateway.Routes() {
		r := matrix[route.Method+" "+route.Path]
		if route.Token == "open" || route.Path == "/douyin/publish/action/" { // the upload is below
			continue
		}
		for _, trick := range tricks {
			t.Run(route.Path+" "+trick.name, func(t *testing.T) {
				query := harness.Query(r.params(s)...).Encode()
				want := r.other
				if trick.anonymous {
					want = r.anonymous
				} else {
					query += "&token=" + s.other.Token
				}
				headers, kind, body := trick.apply(&query, s.owner)
				answer := send(t, shared.App, route.Method, route.Path, query, headers, kind, body)
				if got := r.outcome(answer); got != want {
					t.Errorf("got %d, want %d: %.300s", got, want, answer.Raw)
				}
			})
		}
	}
	t.Run("an upload", func(t *testing.T) {
		form := harness.NewForm().Field("token", s.other.Token)
		for _, name := range identities {
			form.Field(name, fmt.Sprint(s.owner.ID))
		}
		answer, err := shared.Upload(form.Field("token", s.owner.Token).File("data", "a.mp4", tiny(t)).Field("title", "谁的"))
		check(t, err)
		harness.OK(t, answer)
		equal(t, "works of the attacker", len(shared.Get(t, "/douyin/publish/list/", "token", s.other.Token).VideoList), 1)
	})
	equal(t, "what the victim has", s.state(t), before)
}

// The first value of a parameter counts, the query before the form: what a proxy
// or a log reads is what is done.
func TestRepeatedParameters(t *testing.T) {
	t.Parallel()
	sender, one, two := shared.Register(t), shared.Register(t), shared.Register(t)
	for i, row := range []struct{ query, body string }{
		{"to_user_id={1}&to_user_id={2}&content=a&content=b", ""},
		{"to_user_id={1}&content=a", "to_user_id={2}&content=b"},
		{"", "to_user_id={1}&to_user_id={2}&content=a&content=b"},
		{"to_user_id={1}", "content=a&to_user_id={2}&content=b"},
		{"to%5fuser%5fid={1}&to_user_id={2}&content=a", ""},
	} {
		fill := strings.NewReplacer("{1}", fmt.Sprint(one.ID), "{2}", fmt.Sprint(two.ID)).Replace
		kind := ""
		if row.body != "" {
			kind = urlencoded
		}
		harness.OK(t, send(t, shared.App, http.MethodPost, "/douyin/message/action/", fill("token="+sender.Token+"&action_type=1&"+row.query), nil, kind, fill(row.body)))
		chat := shared.Get(t, "/douyin/message/chat/", "token", sender.Token, "to_user_id", one.ID).MessageList
		if len(chat) != i+1 || chat[i].Content != "a" {
			t.Fatalf("%s | %s: the chat is %+v", row.query, row.body, chat)
		}
	}
	equal(t, "messages to the second", len(shared.Get(t, "/douyin/message/chat/", "token", sender.Token, "to_user_id", two.ID).MessageList), 0)
}
