package harness

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// App speaks to a gateway as the phone does: parameters in the query, also of a
// POST; only an upload is a form.
type App struct {
	// Base is what one types into the app.
	Base string
	HTTP *http.Client
}

// NewApp returns an app that gives up after a generous time.
func NewApp(base string) *App {
	return &App{Base: base, HTTP: &http.Client{Timeout: 30 * time.Second}}
}

// Account is a registered user.
type Account struct {
	ID             int64
	Name, Password string
	Token          string
}

// Answer is what came back: every endpoint's keys in one struct, and the bytes.
type Answer struct {
	HTTP   int         `json:"-"`
	Header http.Header `json:"-"`
	Raw    string      `json:"-"`

	StatusCode  int       `json:"status_code"`
	StatusMsg   string    `json:"status_msg"`
	UserID      int64     `json:"user_id"`
	Token       string    `json:"token"`
	User        *User     `json:"user"`
	NextTime    int64     `json:"next_time"`
	VideoList   []Video   `json:"video_list"`
	UserList    []User    `json:"user_list"`
	Comment     *Comment  `json:"comment"`
	CommentList []Comment `json:"comment_list"`
	MessageList []Message `json:"message_list"`
}

// User is API §1.6's, with what a friend's row adds.
type User struct {
	ID              int64  `json:"id"`
	Name            string `json:"name"`
	FollowCount     int64  `json:"follow_count"`
	FollowerCount   int64  `json:"follower_count"`
	IsFollow        bool   `json:"is_follow"`
	Avatar          string `json:"avatar"`
	BackgroundImage string `json:"background_image"`
	Signature       string `json:"signature"`
	TotalFavorited  int64  `json:"total_favorited"`
	WorkCount       int64  `json:"work_count"`
	FavoriteCount   int64  `json:"favorite_count"`
	Message         string `json:"message"`
	MsgType         int    `json:"msgType"`
}

// Video is API §1.6's.
type Video struct {
	ID            int64  `json:"id"`
	Author        User   `json:"author"`
	PlayURL       string `json:"play_url"`
	CoverURL      string `json:"cover_url"`
	FavoriteCount int64  `json:"favorite_count"`
	CommentCount  int64  `json:"comment_count"`
	IsFavorite    bool   `json:"is_favorite"`
	Title         string `json:"title"`
}

// Comment is API §1.6's.
type Comment struct {
	ID         int64  `json:"id"`
	User       User   `json:"user"`
	Content    string `json:"content"`
	CreateDate string `json:"create_date"`
}

// Message is API §1.6's.
type Message struct {
	ID         int64  `json:"id"`
	ToUserID   int64  `json:"to_user_id"`
	FromUserID int64  `json:"from_user_id"`
	Content    string `json:"content"`
	CreateTime int64  `json:"create_time"`
}

// Query makes parameters of pairs: name, value, name, value. Values are printed.
func Query(pairs ...any) url.Values {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Add(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return query
}

// Get asks for path with the pairs as parameters.
func (a *App) Get(tb testing.TB, path string, pairs ...any) Answer {
	tb.Helper()
	return a.must(tb, http.MethodGet, path, Query(pairs...))
}

// Post acts on path with the pairs as parameters, in the query.
func (a *App) Post(tb testing.TB, path string, pairs ...any) Answer {
	tb.Helper()
	return a.must(tb, http.MethodPost, path, Query(pairs...))
}

func (a *App) must(tb testing.TB, method, path string, query url.Values) Answer {
	tb.Helper()
	answer, err := a.Try(method, path, query)
	check(tb, err)
	return answer
}

// Try is Get or Post for loads, where no answer is an outcome too.
func (a *App) Try(method, path string, query url.Values) (Answer, error) {
	request, err := http.NewRequest(method, a.Base+path+"?"+query.Encode(), nil)
	if err != nil {
		return Answer{}, err
	}
	return a.Do(request)
}

// Do sends a request of any shape. An answer that is no JSON object is an error.
func (a *App) Do(request *http.Request) (Answer, error) {
	response, err := a.HTTP.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{HTTP: response.StatusCode, Header: response.Header, Raw: string(body)}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("%s %s: HTTP %d, %w: %.200s", request.Method, request.URL.Path, response.StatusCode, err, body)
	}
	return answer, nil
}

// Form is a multipart body, its parts in the order they are added.
type Form struct {
	body   bytes.Buffer
	writer *multipart.Writer
}

// NewForm returns an empty form.
func NewForm() *Form {
	f := &Form{}
	f.writer = multipart.NewWriter(&f.body)
	return f
}

// File adds a file part; writing to memory does not fail.
func (f *Form) File(field, name string, content []byte) *Form {
	part, err := f.writer.CreateFormFile(field, name)
	if err == nil {
		_, err = part.Write(content)
	}
	if err != nil {
		panic(err)
	}
	return f
}

// Field adds a text part.
func (f *Form) Field(name, value string) *Form {
	if err := f.writer.WriteField(name, value); err != nil {
		panic(err)
	}
	return f
}

// Upload posts the form to publish/action.
func (a *App) Upload(form *Form) (Answer, error) {
	if err := form.writer.Close(); err != nil {
		return Answer{}, err
	}
	request, err := http.NewRequest(http.MethodPost, a.Base+"/douyin/publish/action/", &form.body)
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("Content-Type", form.writer.FormDataContentType())
	return a.Do(request)
}

// Publish uploads the file at path as the app does, the file before the token,
// and fails the test unless it is accepted.
func (a *App) Publish(tb testing.TB, as Account, path, title string) {
	tb.Helper()
	content, err := os.ReadFile(path)
	check(tb, err)
	answer, err := a.Upload(NewForm().File("data", filepath.Base(path), content).Field("token", as.Token).Field("title", title))
	check(tb, err)
	if answer.StatusCode != 0 {
		tb.Fatalf("publishing %q: %s", title, answer.Raw)
	}
}

// PublishAndAwait publishes and returns the video once everybody sees it.
func (a *App) PublishAndAwait(tb testing.TB, as Account, path, title string) Video {
	tb.Helper()
	a.Publish(tb, as, path, title)
	var found Video
	Eventually(tb, time.Minute, func() error {
		for _, v := range a.Get(tb, "/douyin/publish/list/", "user_id", as.ID).VideoList {
			if v.Title == title {
				found = v
				return nil
			}
		}
		return fmt.Errorf("not yet in the list that strangers see")
	}, "publishing "+title)
	return found
}

// password is every registered account's.
const password = "pass1234"

// Register makes an account with a name nobody has.
func (a *App) Register(tb testing.TB) Account {
	tb.Helper()
	name := "u" + strings.ToLower(rand.Text())
	account := Account{Name: name, Password: password}
	answer := a.Post(tb, "/douyin/user/register/", "username", name, "password", account.Password)
	if answer.StatusCode != 0 {
		tb.Fatalf("registering: %s", answer.Raw)
	}
	account.ID, account.Token = answer.UserID, answer.Token
	return account
}

// Profile returns the user as the viewer sees them.
func (a *App) Profile(tb testing.TB, viewer Account, id int64) User {
	tb.Helper()
	answer := a.Get(tb, "/douyin/user/", "token", viewer.Token, "user_id", id)
	if answer.StatusCode != 0 || answer.User == nil {
		tb.Fatalf("profile of %d: %s", id, answer.Raw)
	}
	return *answer.User
}
