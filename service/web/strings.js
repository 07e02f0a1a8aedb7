// Every sentence of the page, in each of its languages.

const en = {
  title: "What the network sees", api: "API", language: "Language", give: "Give it a picture",
  drop: "Drop or paste a picture of a garment here, or", choose: "Choose a file", camera: "Camera",
  draw: "Draw", shoot: "Take the picture", sheet: "Drawing sheet, 28 by 28 pixels", wipe: "Wipe",
  samples: "Samples of the test set", sample: "Sample", prepare: "Preparation:",
  auto: "automatic", photo: "as a photograph", plain: "only grey and small", seen: "What the model saw",
  original: "Your picture", input: "The 28×28 pixels", answer: "The answer", sorted: "Most probable first",
  network: "The network, layer by layer", scale: "One colour scale", perLayer: "per layer",
  perMap: "per map", forAll: "for all", large: "The chosen feature map; the arrow keys step through its pixels",
  step: "Point at a pixel, or step with the arrow keys.", channel: "channel", parameters: "parameters",
  row: "row", column: "column", largest: "the largest of", average: "the average of", prepared: "Preparation done:",
  known: "It looks like what the network was trained on.",
  strange: "It is unlike what the network was trained on: the label means little.",
  none: "none", unreachable: "The service does not answer.", noCamera: "The camera cannot be used.",
};

/** @type {typeof en} */
const ko = {
  title: "신경망이 보는 것", api: "API", language: "언어", give: "사진 넣기",
  drop: "옷 사진을 여기에 끌어다 놓거나 붙여 넣으세요. 또는", choose: "파일 선택", camera: "카메라",
  draw: "그리기", shoot: "촬영", sheet: "28×28 픽셀 그림판", wipe: "지우기",
  samples: "테스트 세트의 예", sample: "예", prepare: "전처리:",
  auto: "자동", photo: "사진으로", plain: "회색조와 크기만", seen: "모델이 본 것",
  original: "원본 사진", input: "28×28 픽셀", answer: "답", sorted: "확률이 높은 순",
  network: "층별로 본 신경망", scale: "색 눈금", perLayer: "층마다",
  perMap: "맵마다", forAll: "전체 공통", large: "선택한 특징 맵. 화살표 키로 픽셀을 옮깁니다",
  step: "픽셀을 가리키거나 화살표 키로 옮기세요.", channel: "채널", parameters: "매개변수",
  row: "행", column: "열", largest: "다음 중 가장 큰 값", average: "다음의 평균", prepared: "적용된 전처리:",
  known: "신경망이 배운 것과 비슷합니다.",
  strange: "신경망이 배운 것과 달라서 이 답은 믿기 어렵습니다.",
  none: "없음", unreachable: "서비스가 응답하지 않습니다.", noCamera: "카메라를 사용할 수 없습니다.",
};

const languages = { en, ko };

/** @returns {"en" | "ko"} the language asked for earlier, or else the browser's */
export function language() {
  const asked = localStorage.getItem("language") ?? navigator.language;
  return asked.startsWith("ko") ? "ko" : "en";
}

/** @param {keyof typeof en} key */
export function text(key) {
  return languages[language()][key];
}

/** Write every sentence of the document in the present language. */
export function translate() {
  document.documentElement.lang = language();
  document.title = `Fashion-MNIST: ${text("title")}`;
  for (const [data, write] of /** @type {const} */ ([
    ["text", (/** @type {Element} */ e, /** @type {string} */ s) => { e.textContent = s; }],
    ["label", (/** @type {Element} */ e, /** @type {string} */ s) => e.setAttribute("aria-label", s)],
    ["alt", (/** @type {Element} */ e, /** @type {string} */ s) => e.setAttribute("alt", s)],
  ])) {
    for (const element of document.querySelectorAll(`[data-${data}]`)) {
      const key = /** @type {keyof typeof en} */ (element.getAttribute(`data-${data}`));
      write(element, text(key));
    }
  }
}
