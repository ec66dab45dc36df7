"use strict";
// Plays the newest videos one under the other. What people wrote is only ever
// inserted as text, never as markup.

const feed = document.getElementById("feed");
const notice = document.getElementById("notice");
const degraded = document.getElementById("degraded");
const sound = document.getElementById("sound");
const comments = document.getElementById("comments");
const template = document.getElementById("video");

let nextTime = 0;      // cursor of the next page; 0 is the newest
let loading = false;
let finished = false;  // there are no older videos
let current = null;    // the article in view
let asked = 0;         // the latest question for comments

async function ask(path, query) {
  const response = await fetch(path + "?" + new URLSearchParams(query), { signal: AbortSignal.timeout(10000) });
  const answer = await response.json();
  if (answer.status_code !== 0) throw new Error(answer.status_msg || "服务暂时不可用");
  return { answer, degraded: response.headers.has("Backbeat-Degraded") };
}

// A network failure has no text for people; a refusal of the server has.
const reason = (error) => (error instanceof TypeError || error instanceof SyntaxError || error.name === "TimeoutError" ? "网络似乎断开了" : error.message);

async function loadMore() {
  if (loading || finished) return;
  loading = true;
  if (!feed.childElementCount) show("正在加载…", "", { busy: true });
  try {
    const page = await ask("/douyin/feed/", nextTime ? { latest_time: nextTime } : {});
    degraded.hidden = !page.degraded;
    const videos = page.answer.video_list;
    // An empty page from a sick service says nothing about what is older.
    finished = videos.length === 0 && !page.degraded;
    if (videos.length) nextTime = page.answer.next_time;
    videos.forEach(append);
    if (feed.childElementCount) notice.hidden = true;
    else if (page.degraded) show("暂时没有可看的视频", "视频服务正在恢复", { action: "重试" });
    else showEmpty();
  } catch (error) {
    if (!feed.childElementCount) show("加载失败", reason(error), { action: "重试" });
    else setTimeout(loadIfNear, 3000);
  } finally {
    loading = false;
  }
}

function show(heading, text, { code = "", action = "", busy = false } = {}) {
  const [button, pre] = [notice.querySelector("button"), notice.querySelector("pre")];
  notice.querySelector("h2").textContent = heading;
  notice.querySelector("p").textContent = text;
  pre.textContent = code;
  pre.hidden = !code;
  button.textContent = action;
  button.hidden = !action;
  notice.classList.toggle("busy", busy);
  notice.hidden = false;
}

function showEmpty() {
  const base = location.origin + "/douyin";
  show("还没有视频", "用抖声 App 发布第一个，或在终端里试试：", {
    action: "刷新",
    code: `# 注册，记下返回的 token\ncurl ${base}/user/register/ \\\n  -d 'username=me&password=secret123'\n\n` +
      `# 发布一个视频\ncurl ${base}/publish/action/ \\\n  -F data=@video.mp4 -F title=你好 \\\n  -F token=粘贴token`,
  });
}

const short = (n) => (n < 10000 ? String(n) : (n / 10000).toFixed(1).replace(/\.0$/, "") + "万");

function append(video) {
  const article = template.content.firstElementChild.cloneNode(true);
  const player = article.querySelector("video");
  const one = (selector) => article.querySelector(selector);
  player.src = web(video.play_url);
  player.poster = web(video.cover_url);
  one(".avatar").src = web(video.author.avatar);
  one(".author").textContent = "@" + video.author.name;
  one(".title").textContent = video.title;
  one(".likes span").textContent = short(video.favorite_count);
  one(".likes").classList.toggle("mine", video.is_favorite);
  one(".talk span").textContent = short(video.comment_count);
  one(".talk").addEventListener("click", () => openComments(video));
  player.addEventListener("click", () => toggle(player));
  player.addEventListener("error", () => article.classList.add("failed"));
  player.addEventListener("play", () => article.classList.remove("stopped"));
  player.addEventListener("timeupdate", () => {
    one(".progress i").style.transform = `scaleX(${player.currentTime / player.duration || 0})`;
  });
  feed.append(article);
  visible.observe(article);
}

// Only addresses of the web are followed, whatever the answer says.
function web(address) {
  try {
    const url = new URL(address, location.href);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : "";
  } catch {
    return "";
  }
}

const visible = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      current = target;
      play(target.querySelector("video"));
    } else {
      target.querySelector("video").pause();
      target.classList.remove("stopped");
    }
  }
  loadIfNear();
}, { root: feed, threshold: 0.6 });

function loadIfNear() {
  const articles = [...feed.children];
  const at = articles.indexOf(current);
  articles.forEach((article, i) => {
    article.querySelector("video").preload = i === at + 1 ? "auto" : i === at ? "metadata" : "none";
  });
  if (articles.length - at <= 4) loadMore();
}

async function play(player) {
  player.muted = sound.getAttribute("aria-pressed") === "false";
  try {
    await player.play();
  } catch (error) {
    // A browser may forbid sound before the first tap; silence it allows.
    if (error.name !== "NotAllowedError") return;
    if (player.muted) player.parentElement.classList.add("stopped");
    else {
      setSound(false);
      play(player);
    }
  }
}

function setSound(on) {
  sound.setAttribute("aria-pressed", String(on));
  sound.setAttribute("aria-label", on ? "关闭声音" : "开启声音");
  if (current) current.querySelector("video").muted = !on;
}

// The first tap on a silent video turns the sound on, later ones pause and go on.
let tapped = false;
function toggle(player) {
  if (!tapped && player.muted && !player.paused) setSound(true);
  else if (player.paused) play(player);
  else {
    player.pause();
    player.parentElement.classList.add("stopped");
  }
  tapped = true;
}

async function openComments(video) {
  const list = comments.querySelector("ul");
  const question = ++asked;
  comments.querySelector("h2").textContent = `${short(video.comment_count)} 条评论`;
  list.replaceChildren(note("正在加载…"));
  comments.hidden = false;
  comments.querySelector(".close").focus();
  let items;
  try {
    const { answer } = await ask("/douyin/comment/list/", { video_id: video.id });
    items = answer.comment_list.map(commentItem);
    if (!items.length) items = [note("还没有评论")];
  } catch (error) {
    items = [note("评论加载失败：" + reason(error))];
  }
  if (question === asked) list.replaceChildren(...items);
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function note(text) {
  const item = element("li", text);
  item.className = "note";
  return item;
}

function commentItem(comment) {
  const item = document.createElement("li");
  const picture = document.createElement("img");
  picture.width = picture.height = 36;
  picture.alt = "";
  picture.loading = "lazy";
  picture.src = web(comment.user.avatar);
  const name = element("b", comment.user.name);
  name.append(element("time", comment.create_date));
  item.append(picture, name, element("p", comment.content));
  return item;
}

function closeComments() {
  asked++;
  comments.hidden = true;
  feed.focus();
}

function move(step) {
  const to = step > 0 ? current?.nextElementSibling : current?.previousElementSibling;
  to?.scrollIntoView({ behavior: "smooth" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!comments.hidden) {
    if (event.key === "Escape") closeComments();
    return;
  }
  const onButton = event.target instanceof HTMLButtonElement;
  const action = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    m: () => setSound(sound.getAttribute("aria-pressed") === "false"),
    " ": onButton ? null : () => current && toggle(current.querySelector("video")),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
document.addEventListener("visibilitychange", () => {
  if (!current || current.classList.contains("stopped")) return;
  const player = current.querySelector("video");
  if (document.hidden) player.pause();
  else play(player);
});
sound.addEventListener("click", () => {
  tapped = true;
  setSound(sound.getAttribute("aria-pressed") === "false");
});
notice.querySelector("button").addEventListener("click", () => {
  nextTime = 0;
  finished = false;
  loadMore();
});
comments.querySelector(".close").addEventListener("click", closeComments);
comments.querySelector(".shade").addEventListener("click", closeComments);

loadMore();
